"""How soon surrogate models warn: swapped labels, changes that no marginal shows, a silent model change, and quiet
streams.

``python -m bench.surrogates --data DIR`` plays Electricity and NOAA with one class relabelled as the other, labels at
once and 500 rows late, and compares the challengers (signal ``concept``) with the best detector on the production
model's errors: driftline's own ``performance:error`` and River's. Each of River's is given the most sensitive setting
of a grid with which no more streams alarm before the onset than with the challengers. Then River's SEA, LED and
STAGGER change, a correlation of two features flips while every feature by itself stays as it is, a model changes
silently, and streams in which nothing changes must stay quiet.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.episodes import FILES
from bench.output import add_json_option, console_for, write_json
from bench.surrogate_plays import (
    CHANGES,
    QUIET_KINDS,
    RIVALS,
    SURROGATES,
    Found,
    Said,
    flip,
    generator,
    quiet,
    silent,
    swaps,
)
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE

LATE: Final = (0, 500)
SLOW: Final = frozenset({"kswin"})
"""Left out unless ``--all`` is given: a quarter of a millisecond a row, for every setting."""
SMALL_RISE: Final = 0.15
"""Of the error: where it rises by less, the challengers may take at most half as long as the best detector."""
HALF: Final = 0.5
ROWS_LATER: Final = 64
"""Elsewhere they may come so many rows after it."""
WITHIN: Final = {"flip": (MULTIVARIATE, 1_000, 0.95), "silent": (MIMIC, 500, 0.95)}
CHANGES_FOUND: Final = 0.9

Job = tuple[str, tuple[Any, ...]]


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """List what is to be played."""
    rivals = tuple(name for name in RIVALS if options.all or name not in SLOW)
    jobs: list[Job] = []
    if options.data is not None:
        episodes = range(options.episodes)
        jobs += [
            ("swaps", (options.data, name, seed, late, rivals)) for name in FILES for late in LATE for seed in episodes
        ]
    jobs += [("generator", (name, seed)) for name in CHANGES for seed in range(options.generated)]
    jobs += [(part, (seed,)) for part in WITHIN for seed in range(options.seeds)]
    return jobs + [
        ("quiet", (kind.value, seed, options.windows)) for kind in QUIET_KINDS for seed in range(options.streams)
    ]


def play(jobs: Sequence[Job], workers: int, console: Console) -> Iterator[tuple[str, Any]]:
    """Play them all, in any order."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        Progress(*columns, console=console) as progress,
        multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=16) as pool,
    ):
        task = progress.add_task("streams", total=len(jobs))
        for part, result in pool.imap_unordered(_play, jobs):
            progress.advance(task)
            yield part, result


def _play(job: Job) -> tuple[str, Any]:
    part, arguments = job
    return part, PARTS[part](*arguments)


# ------------------------------------------------------------------------------------------------------- swapped labels


def delays(said: Sequence[Said]) -> list[dict[str, Any]]:
    """Compare the challengers with the best detector, by stream, lateness of labels and class swapped."""
    rows = []
    for (stream, late), of_stream in sorted(_grouped(said, lambda each: (each.stream, each.late)).items()):
        chosen = calibrated(of_stream)
        for swapped, of_swap in sorted(_grouped(of_stream, lambda each: each.swapped).items()):
            medians = {}
            for (contender, setting), own in _grouped(of_swap, lambda each: (each.contender, each.setting)).items():
                if chosen.get(contender) == setting:
                    medians[contender] = _median(own)
            rise = float(np.median([each.rise for each in of_swap]))
            rows.append({"stream": stream, "late": late, "swapped": swapped, "rise": round(rise, 3),
                         "episodes": len({id(each) for each in of_swap if each.contender == CONCEPT}),
                         **_verdict(medians, rise), "medians": medians, "settings": _names(chosen)})  # fmt: skip
    return rows


def calibrated(said: Sequence[Said]) -> dict[str, int]:
    """Choose each contender's most sensitive setting with no more alarms on stable rows than the challengers'."""
    shares = {
        key: float(np.mean([each.false_alarm for each in own]))
        for key, own in _grouped(said, lambda each: (each.contender, each.setting)).items()
    }
    allowed = shares[CONCEPT, 0]
    chosen: dict[str, int] = {}
    for contender, setting in sorted(shares):
        if shares[contender, setting] <= allowed:
            chosen.setdefault(contender, setting)
    return chosen


def _verdict(medians: Mapping[str, float], rise: float) -> dict[str, Any]:
    rivals = {name: delay for name, delay in medians.items() if name not in (CONCEPT, "label")}
    best = min(rivals, key=lambda name: rivals[name])
    own, other = medians[CONCEPT], rivals[best]
    asked = HALF * other if rise < SMALL_RISE else other + ROWS_LATER
    found = bool(np.isfinite(own))
    return {
        "concept": own if found else None,
        "best": best,
        "best_delay": other if np.isfinite(other) else None,
        "asked": asked if np.isfinite(asked) else None,
        "met": found and own <= asked,
    }


def _median(said: Sequence[Said]) -> float:
    """Median delay; infinite where most found nothing."""
    return float(np.median([np.inf if each.delay is None else each.delay for each in said]))


def _names(chosen: Mapping[str, int]) -> dict[str, str]:
    return {name: RIVALS[name][place][0] for name, place in chosen.items() if name in RIVALS}


def _grouped(said: Sequence[Said], key: Callable[[Said], Any]) -> dict[Any, list[Said]]:
    groups: defaultdict[Any, list[Said]] = defaultdict(list)
    for each in said:
        groups[key(each)].append(each)
    return groups


# --------------------------------------------------------------------------------------------------------------- others


def found_in(part: str, found: Sequence[Found]) -> dict[str, Any]:
    """Say how often a change was found, how soon, and what else spoke."""
    signal, within, share = WITHIN.get(part, (CONCEPT, 2_000, CHANGES_FOUND))
    own = [each.delays[signal] for each in found if each.delays.get(signal, within + 1) <= within]
    features = sum(any(name.startswith("feature:") for name in each.delays) for each in found)
    return {
        "part": part,
        "signal": signal,
        "streams": len(found),
        "within": within,
        "found": round(len(own) / len(found), 3),
        "delay_median": float(np.median(own)) if own else None,
        "false_alarms": sum(signal in each.alarms_before for each in found),
        "found_by_any": sum(any(at <= within for at in each.delays.values()) for each in found),
        "features_alarmed": features,
        "met": len(own) >= share * len(found) and (part != "flip" or features == 0),
    }


def quiet_in(kind: str, found: Sequence[Found], windows: int) -> dict[str, Any]:
    """Count the streams without a change in which a surrogate spoke."""
    spoke = {signal: sum(signal in each.alarms_before for each in found) for signal in SURROGATES}
    return {"kind": kind, "streams": len(found), "windows": windows, **spoke, "met": not any(spoke.values())}


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Lay it out for people."""
    keys = {
        "swaps": ("stream", "late", "swapped", "episodes", "rise", "concept", "best", "best_delay", "asked", "met"),
        "found": ("part", "signal", "streams", "within", "found", "delay_median", "false_alarms", "found_by_any",
                  "features_alarmed", "met"),
        "quiet": ("kind", "streams", "windows", *SURROGATES, "met"),
    }  # fmt: skip
    titles = {
        "swaps": "Swapped labels: median rows until found, challengers and the best detector of errors",
        "found": "Changes found",
        "quiet": "Nothing changes: streams in which a surrogate spoke",
    }
    for part, names in keys.items():
        if report[part]:
            table = Table(*(name.replace("_", " ") for name in names), title=titles[part])
            for row in report[part]:
                table.add_row(*("-" if row[name] is None else str(row[name]) for name in names))
            yield table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.surrogates", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder with elec.csv.gz and weather.csv.gz; without it, no swaps")
    parser.add_argument("--quick", action="store_true", help="a fifth of everything")
    parser.add_argument("--all", action="store_true", help="KSWIN among the rivals: slow")
    parser.add_argument("--episodes", type=int, default=20, help="shuffles of each real stream (default 20)")
    parser.add_argument("--generated", type=int, default=20, help="seeds of each generator (default 20)")
    parser.add_argument("--seeds", type=int, default=50, help="seeds of each label-free change (default 50)")
    parser.add_argument("--streams", type=int, default=20, help="quiet streams of each kind (default 20)")
    parser.add_argument("--windows", type=int, default=1_000, help="windows of 32 rows of each (default 1000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    add_json_option(parser)
    options = parser.parse_args()
    if options.quick:
        for name in ("episodes", "generated", "seeds", "streams", "windows"):
            setattr(options, name, max(getattr(options, name) // 5, 1))
    console = console_for(options.json)
    results: defaultdict[str, list[Any]] = defaultdict(list)
    for part, result in play(jobs_of(options), options.workers, console):
        results[part if part == "swaps" else result.part].extend(result if part == "swaps" else [result])
    report = {
        "swaps": delays(results["swaps"]),
        "found": [found_in(part, results[part]) for part in (*CHANGES, *WITHIN) if results[part]],
        "quiet": [
            quiet_in(kind.value, results[kind.value], options.windows) for kind in QUIET_KINDS if results[kind.value]
        ],
    }
    for table in tables(report):
        console.print(table)
    write_json(report, options.json)


PARTS: Final[Mapping[str, Callable[..., Any]]] = {
    "swaps": swaps,
    "generator": generator,
    "flip": flip,
    "silent": silent,
    "quiet": quiet,
}

if __name__ == "__main__":
    main()
