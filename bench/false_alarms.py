"""Whether the false-alarm budget holds on streams as they are in production, and what the silence costs.

``python -m bench.false_alarms`` draws stable streams of 2,000 windows (``bench.streams``), states a budget of one false
alarm for each stream and counts the streams with any incident; then the first feature shifts by one standard deviation,
and the rows until an incident opens are counted. River's detectors and a distance with a threshold read the same rows.

A budget of one false alarm in a stream would allow an incident in about 63 % of the streams.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult, Pool
from typing import Any, Final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from scipy import stats

from bench.judging import MIN_ROWS, judge, prepare
from bench.output import add_json_option, console_for, write_json
from bench.streams import CASES, Case, make
from bench.untuned import RIVALS

STREAMS: Final = 200
WINDOWS: Final = 2_000
PATIENCE_ROWS: Final = 12_800
"""After the shift."""
LIMIT_S: Final = 600.0
"""A case that takes longer gets fewer streams."""
SIGNALS_AT_ONCE: Final = 100
MOST_AT_ONCE: Final = 20
"""Streams that one process judges side by side."""
QUICK: Final = (
    "independent rows",
    "AR(1), rho 0.9",
    "bursts of 20",
    "30 days, daily season",
    "Zipf, 1,000 values",
    "AR(1), reference of 500",
)
QUICK_STREAMS: Final = 16
ASKED: Final = 0.1
"""Share of streams with an incident, at the most, in every case."""
ENOUGH: Final = 100
"""Streams from which on that is asked."""
WIDTH: Final = 150


@dataclass(frozen=True, slots=True)
class Told:
    """What one detector said of one stream."""

    detector: str
    alarmed: bool
    delay: int | None
    not_judged: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """Streams of one case that are judged together."""

    case: str
    seeds: range
    rivals: tuple[str, ...]


def play(job: Job) -> list[Told]:
    """Draw the streams of a job, and let everybody read them."""
    case = CASES[job.case]
    stable, shifted = panes_of(case)
    told, prepared = [], []
    for seed in job.seeds:
        stream = make(case, seed, stable, shifted)
        for name in job.rivals:
            alarmed_at, delay = RIVALS[name](stream, stable * case.pane_rows)
            told.append(Told(name, alarmed_at is not None, delay))
        prepared.append(prepare(stream, stable))
    verdicts = judge(prepared, stable)
    told += [Told("driftline", each.alarmed_at is not None, each.delay_rows, each.not_judged) for each in verdicts]
    return told


def panes_of(case: Case) -> tuple[int, int]:
    """Panes before and after the shift: a window needs `MIN_ROWS` rows."""
    return WINDOWS * -(-MIN_ROWS // case.pane_rows), -(-PATIENCE_ROWS // case.pane_rows)


def jobs_of(case: str, streams: int, rivals: Sequence[str]) -> list[Job]:
    """Share the streams of a case out."""
    at_once = min(max(SIGNALS_AT_ONCE // CASES[case].features, 1), MOST_AT_ONCE, -(-streams // 2))
    return [Job(case, range(begin, min(begin + at_once, streams)), tuple(rivals))
            for begin in range(0, streams, at_once)]  # fmt: skip


def run(pool: Pool, jobs: Sequence[Job], workers: int, limit_s: float) -> Iterator[tuple[Job, list[Told]]]:
    """Play jobs in their order; begin none after the limit, so that which streams are played depends on no outcome."""
    began, waiting = time.monotonic(), iter(jobs)
    playing: deque[tuple[Job, AsyncResult[list[Told]]]] = deque()
    while True:
        while len(playing) < 2 * workers and time.monotonic() - began < limit_s and (job := next(waiting, None)):
            playing.append((job, pool.apply_async(play, (job,))))
        if not playing:
            return
        job, result = playing.popleft()
        yield job, result.get()


def summarise(case: str, told: Sequence[Told]) -> list[dict[str, Any]]:
    """Put together what was said of all streams of a case, by detector."""
    rows = []
    for detector in ("driftline", *RIVALS):
        own = [each for each in told if each.detector == detector]
        if not own:
            continue
        alarms = sum(each.alarmed for each in own)
        interval = stats.binomtest(alarms, len(own)).proportion_ci(method="exact")
        delays = [math.inf if each.delay is None else each.delay for each in own]
        median = float(np.median(delays))
        rows.append(
            {
                "case": case,
                "detector": detector,
                "streams": len(own),
                "with_alarm": alarms,
                "share": round(alarms / len(own), 4),
                "lower": round(interval.low, 4),
                "upper": round(interval.high, 4),
                "delay_1sd": median if math.isfinite(median) else None,
                "found": round(sum(map(math.isfinite, delays)) / len(own), 4),
                "not_judged": round(float(np.mean([each.not_judged for each in own])), 4),
            }
        )
    return rows


def misses(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name the cases in which driftline raised more than is asked."""
    own = [row for row in rows if row["detector"] == "driftline" and row["streams"] >= ENOUGH]
    return [row["case"] for row in own if row["share"] > ASKED]


# --------------------------------------------------------------------------------------------------------- for people


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line a case: shares with an alarm and, behind them, the median delay."""
    out = Table(
        title=f"Streams with an alarm in {WINDOWS:,} stable windows (95 % interval) · rows until a 1-sd shift is found",
        caption="median over all streams, one that never found it counts as longest; - : more than half never did",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    out.add_column("case", no_wrap=True)
    out.add_column("streams", justify="right")
    for name in detectors:
        out.add_column(name, justify="right", no_wrap=name == "driftline")
    out.add_column("not judged", justify="right")
    for case in dict.fromkeys(row["case"] for row in rows):
        own = {row["detector"]: row for row in rows if row["case"] == case}
        shown = [_shown(own[name], interval=name == "driftline") if name in own else "" for name in detectors]
        out.add_row(case, str(own["driftline"]["streams"]), *shown, f"{own['driftline']['not_judged']:.0%}")
    return out


def _shown(row: dict[str, Any], *, interval: bool) -> str:
    delay = "-" if row["delay_1sd"] is None else f"{row['delay_1sd']:,.0f}"
    bounds = f" ({row['lower']:.1%} to {row['upper']:.1%})" if interval else ""
    return f"{row['share']:.1%}{bounds} · {delay}"


def main() -> None:
    """Run from the command line."""
    options = _options()
    console = console_for(options.json, WIDTH)
    cases = options.cases or (QUICK if options.quick else tuple(CASES))
    streams = options.streams or (QUICK_STREAMS if options.quick else STREAMS)
    rows: list[dict[str, Any]] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    pool = multiprocessing.get_context("spawn").Pool(options.workers)
    with pool, Progress(*columns, console=console) as progress:
        for case in cases:
            task = progress.add_task(case, total=streams)
            told: list[Told] = []
            for job, found in run(pool, jobs_of(case, streams, options.rivals), options.workers, options.limit):
                progress.advance(task, len(job.seeds))
                told += found
            rows += summarise(case, told)
    console.print(table(rows))
    failed = misses(rows)
    console.print(f"asked: at most {ASKED:.0%} in every case with {ENOUGH} streams or more; "
                  + (f"missed: {'; '.join(failed)}" if failed else "held"))  # fmt: skip
    write_json({"rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.false_alarms", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{len(QUICK)} cases, {QUICK_STREAMS} streams each")
    parser.add_argument("--streams", type=int, help=f"of each case (default {STREAMS})")
    parser.add_argument("--cases", nargs="+", metavar="NAME", choices=list(CASES), help="only these")
    parser.add_argument("--rivals", nargs="*", metavar="NAME", choices=list(RIVALS), default=list(RIVALS),
                        help="who reads the same rows (default: all)")  # fmt: skip
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS",
                        help=f"begin no more streams of a case after so long (default {LIMIT_S:g})")  # fmt: skip
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    add_json_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
