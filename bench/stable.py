"""False alarms on stable streams, and what they cost: the delay of a real shift.

``python -m bench.stable`` simulates models of 20 features whose rows never change their distribution, judges 1,000
windows of 32 to 64 rows of each at the default budget (one false alarm in 30 days, a step every ten seconds), and
counts the streams that raise any incident. Then one numeric feature of each is shifted by one standard deviation, and
the rows until an incident opens are counted. Rows are independent, autocorrelated, or come in bursts; the reference
holds 5,000 rows of the same kind in their own order.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from scipy import signal, special

from detector.bins import boolean_bins, fit_category_bins, fit_number_bins, make_binner
from detector.dispersion import overdispersion
from detector.evidence import EvidenceEngine, SignalBaseline
from detector.expectation import WHOLE
from detector.incidents import Incidents, Watched
from detector.sequential import log_threshold
from detector.tiers import Tiers
from schemas.outbound import Family

Floats = NDArray[np.float64]

REFERENCE_ROWS: Final = 5_000
WINDOW_ROWS: Final = (32, 64)
BUDGET_PERIOD_S: Final = 30 * 86_400.0
STEP_INTERVAL_S: Final = 10.0
THRESHOLDS: Final = (0.1, 0.2, 0.25)
QUIET_STEPS: Final = 8
PATIENCE: Final = 400
"""Windows after the shift in which it must be found."""
RHO: Final = 0.9
BURST_ROWS: Final = 20


class Kind(StrEnum):
    """How neighbouring rows hang together."""

    INDEPENDENT = "independent"
    AUTOCORRELATED = "autocorrelated"
    BURSTS = "bursts"


def _zipf(categories: int) -> Callable[[Floats], list[str]]:
    """Categories as frequent as 1, 1/2, 1/3, ..."""
    shares = np.cumsum(1 / np.arange(1, categories + 1))
    edges = special.ndtri(shares[:-1] / shares[-1])
    return lambda z: [f"c{i}" for i in np.searchsorted(edges, z).tolist()]


NUMBERS: Final[tuple[Callable[[Floats], Floats], ...]] = (
    lambda z: z,  # normal
    np.exp,  # log-normal
    special.ndtr,  # uniform
    lambda z: -special.log_ndtr(-z),  # exponential
    lambda z: np.sinh(2 * z),  # heavy tails
    lambda z: z + 3 * np.sign(z),  # two humps
    lambda z: np.floor(np.exp(0.5 * z + 1.5)),  # counts
    lambda z: np.maximum(z - 0.25, 0.0),  # mostly zero
    lambda z: np.where(z < -2.0, np.nan, z),  # sometimes missing
)
"""Features as functions of a standard normal variable."""
CATEGORIES: Final = (_zipf(4), _zipf(12), _zipf(45))


@dataclass(frozen=True)
class Outcome:
    """What became of one stream."""

    alarmed_at: int | None
    """Window of the first false incident."""
    delay_rows: int | None
    """Rows after the shift until an incident opened; None where it was not found, or had alarmed before."""


def simulate(kind: Kind, seed: int, windows: int, features: int) -> Outcome:
    """Judge one stream: ``windows`` stable ones, then a shift."""
    rng = np.random.default_rng([seed, features, list(Kind).index(kind)])
    reference = _latent(kind, REFERENCE_ROWS, features, rng)
    sizes = rng.integers(WINDOW_ROWS[0], WINDOW_ROWS[1] + 1, size=windows + PATIENCE)
    stable = int(sizes[:windows].sum())
    live = _latent(kind, int(sizes.sum()), features, rng)
    live[seed % _numbers(features), stable:] += 1.0
    columns = [_Column(i, features, reference[i], live[i], sizes) for i in range(features)]

    threshold = log_threshold(BUDGET_PERIOD_S, STEP_INTERVAL_S, features, 1.0)
    baselines = [column.baseline for column in columns]
    engine = EvidenceEngine(baselines, log_threshold=threshold)
    tiers = Tiers(baselines, log_threshold=threshold, quiet_steps=QUIET_STEPS)
    incidents = Incidents(f"{kind}/{seed}", Family.DRIFT, [Watched(each.name) for each in baselines])
    for window in range(len(sizes)):
        readings = engine.step({WHOLE: [column.counts[window] for column in columns]})
        for index, tier in tiers.update(readings).items():
            engine.reset(index, above=tier.rank)
        if incidents.update(tiers.current, readings, step=window, moment=str(window), time=float(window)):
            if window < windows:
                return Outcome(window, None)
            return Outcome(None, int(sizes[windows : window + 1].sum()))
    return Outcome(None, None)


class _Column:
    """One feature: its reference, and its counts by window."""

    def __init__(self, index: int, features: int, reference: Floats, live: Floats, sizes: NDArray[np.int64]) -> None:
        number = index < _numbers(features)
        if number:
            value = NUMBERS[index % len(NUMBERS)]
            binner = make_binner(fit_number_bins(value(reference)))
            bins, lived = binner.index(value(reference)), binner.index(value(live))
        elif index == features - 1:
            binner = make_binner(boolean_bins())
            bins, lived = (binner.index(np.where(z < -0.5, "true", "false").tolist()) for z in (reference, live))
        else:
            category = CATEGORIES[index % len(CATEGORIES)]
            binner = make_binner(fit_category_bins(category(reference)))
            bins, lived = binner.index(category(reference)), binner.index(category(live))
        self.baseline = SignalBaseline(
            name=f"feature:{index}",
            phases={WHOLE: np.bincount(bins, minlength=binner.width)},
            ordered=number,
            dispersion=overdispersion(bins, binner.width, ordered=number),
            opens=True,
            thresholds=THRESHOLDS,
        )
        window = np.repeat(np.arange(len(sizes)), sizes)
        counts = np.bincount(window * binner.width + lived, minlength=len(sizes) * binner.width)
        self.counts = counts.reshape(len(sizes), binner.width)


def _numbers(features: int) -> int:
    """Of 20 features, 14 are numbers, 5 categories and one a boolean."""
    return max(1, round(0.7 * features))


def _latent(kind: Kind, rows: int, features: int, rng: np.random.Generator) -> Floats:
    """Standard normal variables (features, rows), as alike among neighbours as the kind says."""
    if kind is Kind.BURSTS:
        return np.repeat(rng.normal(size=(features, rows // BURST_ROWS + 1)), BURST_ROWS, axis=1)[:, :rows]
    noise = rng.normal(size=(features, rows))
    if kind is Kind.INDEPENDENT:
        return noise
    start = rng.normal(size=(features, 1)) * RHO
    series, _ = signal.lfilter([np.sqrt(1 - RHO**2)], [1, -RHO], noise, axis=1, zi=start)
    return np.asarray(series)


def measure(streams: Mapping[Kind, int], windows: int, features: int, console: Console) -> list[dict[str, Any]]:
    """Simulate so many streams of each kind."""
    jobs = [(kind, seed, windows, features) for kind, count in streams.items() for seed in range(count)]
    outcomes: dict[Kind, list[Outcome]] = {kind: [] for kind in streams}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        tasks = {kind: progress.add_task(f"{kind} streams", total=count) for kind, count in streams.items()}
        for kind, outcome in _run(jobs):
            outcomes[kind].append(outcome)
            progress.advance(tasks[kind])
    return [_summary(kind, found, windows, features) for kind, found in outcomes.items()]


def _run(jobs: list[tuple[Kind, int, int, int]]) -> Iterator[tuple[Kind, Outcome]]:
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(_job, jobs)


def _job(job: tuple[Kind, int, int, int]) -> tuple[Kind, Outcome]:
    return job[0], simulate(*job)


def _summary(kind: Kind, outcomes: list[Outcome], windows: int, features: int) -> dict[str, Any]:
    delays = sorted(outcome.delay_rows for outcome in outcomes if outcome.delay_rows is not None)
    alarmed = sum(outcome.alarmed_at is not None for outcome in outcomes)
    return {
        "kind": kind.value,
        "streams": len(outcomes),
        "windows": windows,
        "features": features,
        "streams_with_incident": alarmed,
        "shift_found": len(delays),
        "shift_missed": len(outcomes) - alarmed - len(delays),
        "delay_rows_p50": float(np.median(delays)) if delays else None,
        "delay_rows_p90": float(np.quantile(delays, 0.9)) if delays else None,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """Lay the summaries out for people."""
    out = Table(
        title=f"Stable streams: {rows[0]['windows']:,} windows of {rows[0]['features']} features, then a 1-sd shift"
    )
    headings = ("rows", "streams", "with an incident", "shift found", "missed", "delay p50 (rows)", "p90")
    for name in headings:
        out.add_column(name, justify="left" if name == "rows" else "right")
    keys = ("streams", "streams_with_incident", "shift_found", "shift_missed", "delay_rows_p50", "delay_rows_p90")
    for row in rows:
        out.add_row(row["kind"], *("-" if row[key] is None else f"{row[key]:,.0f}" for key in keys))
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.stable", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--streams", type=int, default=100, help="independent streams (default 100); of the others a fifth"
    )
    parser.add_argument("--windows", type=int, default=1_000, help="stable windows of each (default 1000)")
    parser.add_argument("--features", type=int, default=20, help="features of each (default 20)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here as well; - is standard output")
    options = parser.parse_args()
    console = Console(stderr=options.json == "-")
    extra = max(1, options.streams // 5)
    streams = {kind: options.streams if kind is Kind.INDEPENDENT else extra for kind in Kind}
    rows = measure(streams, options.windows, options.features, console)
    console.print(table(rows))
    if options.json == "-":
        json.dump(rows, sys.stdout, indent=2)
    elif options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
