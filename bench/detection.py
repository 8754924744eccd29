"""How soon a drift is found, how surely, and at how many false alarms: driftline beside the detectors that people use.

``python -m bench.detection --data DIR`` runs the published protocol (``bench.episodes``) on Electricity and NOAA,
abrupt and gradual, and River's generators with a change; every contender has one configuration, its default, for
everything. An alarm of driftline is an incident that opens. The first alarm within ``max_delay`` rows behind the onset
is the detection, others there are ignored, any elsewhere is false.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.contenders import CONTENDERS
from bench.episodes import FILES, GENERATORS, PROTOCOL
from bench.output import add_json_option, console_for, write_json
from bench.play import Cell, Outcome, play_generated, play_real

EPISODES: Final = 50
QUICK_EPISODES: Final = 10
SLOW: Final = frozenset({"kswin"})
"""Left out of ``--quick``: a quarter of a millisecond a row."""

WIDTH: Final = 130
"""Characters of the tables where they go to a file."""

ASKED: Final = {
    "abrupt_f1": ("at least", 0.97),
    "abrupt_recall": ("at least", 0.97),
    "abrupt_delay": ("at most", 170.0),
    "abrupt_far": ("at most", 0.002),
    "gradual_f1": ("at least", 0.93),
}
PUBLISHED: Final = (
    ("SEED", 0.362, 0.59, 588, 3.2 / 50),
    ("STEPD", 0.213, 0.60, 539, 10.3 / 50),
    ("ADWIN", 0.232, 0.28, 1085, 6.8 / 50),
    ("HDDM-A", 0.232, 0.30, 1046, 1.9 / 50),
    ("HDDM-W", 0.190, 0.57, 820, 10.2 / 50),
    ("Page-Hinkley", 0.127, 0.14, 1223, 1.2 / 50),
)
"""Abrupt, at defaults, means over seven streams (arXiv 2606.07789): F1, recall, delay, FAR. On the error stream only;
its FAR counts the false alarms of 50 episodes per 1,000 rows of one, so that it is divided by 50 here."""


@dataclass(frozen=True, slots=True)
class Job:
    """One shuffle of a real stream with all its drifts, or one run of a generator."""

    stream: str
    seed: int
    data: Path | None
    contenders: tuple[str, ...]


def run(jobs: Sequence[Job], workers: int) -> Iterator[list[Outcome]]:
    """Play all jobs, in any order."""
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=8) as pool:
        yield from pool.imap_unordered(_play, jobs)


def _play(job: Job) -> list[Outcome]:
    if job.data is None:
        return play_generated(job.stream, job.seed, job.contenders)
    return play_real(job.data, job.stream, job.seed, job.contenders)


def summarise(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Put the episodes of each cell and contender together."""
    cells: defaultdict[tuple[Cell, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        cells[outcome.cell, outcome.contender].append(outcome)
    return [_row(cell, contender, found) for (cell, contender), found in sorted(cells.items(), key=_order)]


def _order(item: tuple[tuple[Cell, str], Any]) -> tuple[Any, ...]:
    (cell, contender), _ = item
    return [*FILES, *GENERATORS].index(cell.stream), cell.mode, cell.kind, list(CONTENDERS).index(contender)


def _row(cell: Cell, contender: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    delays = [each.delay for each in outcomes if each.delay is not None]
    rows_seen = [each.delay_rows for each in outcomes if each.delay_rows is not None]
    false = sum(each.false_alarms for each in outcomes)
    monitored = sum(each.rows for each in outcomes)
    found, drifting = len(delays), cell.kind != "none"
    precision = found / max(found + false, 1)
    recall = found / len(outcomes)
    return {
        **asdict(cell),
        "detector": contender,
        "episodes": len(outcomes),
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 3) if drifting else None,
        "recall": round(recall, 3) if drifting else None,
        "delay_mean": round(float(np.mean(delays)), 1) if delays else None,
        "delay_median": float(np.median(delays)) if delays else None,
        "delay_rows_mean": round(float(np.mean(rows_seen)), 1) if rows_seen else None,
        "false_alarms": false,
        "far": round(1_000 * false / max(monitored, 1), 5),
        "cost_us": round(1e6 * sum(each.seconds for each in outcomes) / max(monitored, 1), 2),
    }


def overall(rows: Sequence[dict[str, Any]], detector: str) -> dict[str, float | None]:
    """Average the cells of the published protocol."""
    cells = [row for row in rows if row["detector"] == detector and row["stream"] in FILES and row["kind"] in PROTOCOL]
    abrupt, gradual = ([row for row in cells if row["mode"] == mode] for mode in ("abrupt", "gradual"))

    def mean(of: Sequence[dict[str, Any]], key: str) -> float | None:
        values = [row[key] for row in of if row[key] is not None]
        return round(float(np.mean(values)), 4) if values else None

    return {
        "abrupt_f1": mean(abrupt, "f1"),
        "abrupt_recall": mean(abrupt, "recall"),
        "abrupt_delay": mean(abrupt, "delay_mean"),
        "abrupt_far": mean(abrupt, "far"),
        "gradual_f1": mean(gradual, "f1"),
        "gradual_far": mean(gradual, "far"),
        "cost_us": mean(cells, "cost_us"),
    }


# --------------------------------------------------------------------------------------------------------- for people


def tables(rows: Sequence[dict[str, Any]], contenders: Sequence[str]) -> Iterator[Table]:
    """Lay it out: driftline's cells, everybody's averages, the generators."""
    columns = ("stream", "mode", "kind", "f1", "recall", "delay_mean", "delay_median", "false_alarms", "far")
    out = _table("driftline, by cell", columns, words=3)
    protocol = [row for row in rows if row["stream"] in FILES]
    for row in protocol:
        if row["detector"] == "driftline":
            out.add_row(*(_shown(row[name]) for name in columns))
    if protocol:
        yield out
        yield _averages(rows, contenders)
    generated = [row for row in rows if row["stream"] in GENERATORS]
    if generated:
        names = [name for name in GENERATORS if any(row["stream"] == name for row in generated)]
        out = _table("River's generators: recall, mean delay, false alarms", ("detector", *names))
        for contender in contenders:
            own = {row["stream"]: row for row in generated if row["detector"] == contender}
            out.add_row(contender, *(_short(own[name]) for name in names))
        yield out


def _table(title: str, columns: Sequence[str], words: int = 1) -> Table:
    """Make a table whose first columns are words and the others numbers."""
    out = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1))
    for number, name in enumerate(columns):
        out.add_column(name.replace("_", " "), justify="left" if number < words else "right", no_wrap=number < words)
    return out


def _averages(rows: Sequence[dict[str, Any]], contenders: Sequence[str]) -> Table:
    keys = ("abrupt_f1", "abrupt_recall", "abrupt_delay", "abrupt_far", "gradual_f1", "gradual_far", "cost_us")
    title = "Averages over the protocol's cells (published: abrupt, of the error stream)"
    out = _table(title, ("detector", "F1", "recall", "delay", "FAR", "gradual F1", "gradual FAR", "µs a row"))
    for contender in contenders:
        out.add_row(contender, *(_shown(value) for value in overall(rows, contender).values()))
    out.add_section()
    for name, *values in PUBLISHED:
        out.add_row(f"{name}, published", *(_shown(value) for value in values), "", "", "")
    out.add_section()
    signs = {"at least": "≥", "at most": "≤"}
    asked = {key: f"{signs[word]} {limit:g}" for key, (word, limit) in ASKED.items()}
    out.add_row("asked", *(asked.get(key, "") for key in keys))
    return out


def _short(row: dict[str, Any]) -> str:
    delay = "-" if row["delay_mean"] is None else f"{row['delay_mean']:,.0f}"
    return f"{row['recall']:.1f} {delay} {row['false_alarms']}"


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.4g}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"where {', '.join(f for f, _ in FILES.values())} are")
    parser.add_argument("--episodes", type=int, default=EPISODES, help=f"of each cell (default {EPISODES})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPISODES} episodes, without {', '.join(SLOW)}")
    parser.add_argument("--streams", nargs="+", metavar="NAME", choices=[*FILES, *GENERATORS], help="only these")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", choices=list(CONTENDERS), help="only these")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    add_json_option(parser)
    options = parser.parse_args()
    console = console_for(options.json, WIDTH)
    episodes = QUICK_EPISODES if options.quick else options.episodes
    contenders = tuple(n for n in options.contenders or CONTENDERS if not (options.quick and n in SLOW))
    streams = options.streams or [*(FILES if options.data else ()), *GENERATORS]
    if options.data is None and set(streams) & set(FILES):
        parser.error("Electricity and NOAA need --data DIR")
    if options.data is not None:
        for file in (FILES[name][0] for name in streams if name in FILES):
            if not (options.data / file).is_file():
                parser.error(f"{options.data} has no {file}")
    jobs = [Job(name, seed, options.data if name in FILES else None, contenders)
            for seed in range(episodes) for name in streams]  # fmt: skip
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("shuffled streams and generators", total=len(jobs))
        for found in run(jobs, options.workers):
            outcomes += found
            progress.advance(task)
    rows = summarise(outcomes)
    for table in tables(rows, contenders):
        console.print(table)
    everybody = {name: overall(rows, name) for name in contenders}
    result = {"cells": rows, "summary": everybody.get("driftline"), "summaries": everybody}
    write_json(result, options.json)


if __name__ == "__main__":
    main()
