"""Stable streams of every kind that real ones are: reference, live rows that never change, and a shift at the end.

Each feature is a function of a standard normal variable, so that "a shift of one standard deviation" means the same
for a heavy tail and for a category: the variable behind the first feature grows by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special

from detector.rows import Column, Rows, Source
from schemas.model_spec import FeatureType

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Value = Callable[[Floats], Column]

RHO: Final = 0.9
BURST_ROWS: Final = 20
DAYS: Final = 30
"""Of a stream with a season; its reference holds as many days before."""
START_S: Final = 1_767_225_600.0
"""2026-01-01, midnight UTC."""
DAY_S: Final = 86_400.0
STEP_S: Final = 10.0
"""Event time between two panes of a stream without a season."""


class Kind(StrEnum):
    """How neighbouring rows hang together."""

    INDEPENDENT = "independent"
    AUTOCORRELATED = "autocorrelated"
    BURSTS = "bursts"
    SEASONAL = "seasonal"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its type, and its value as a function of a standard normal variable."""

    type: FeatureType
    value: Value


def _zipf(categories: int) -> Value:
    """Categories as frequent as 1, 1/2, 1/3, ..."""
    shares = np.cumsum(1 / np.arange(1, categories + 1))
    edges = special.ndtri(shares[:-1] / shares[-1])
    names = np.array([f"c{i}" for i in range(categories)], dtype=object)
    return lambda z: names[np.searchsorted(edges, z)].tolist()  # type: ignore[no-any-return]


NORMAL: Final = Feature(FeatureType.NUMBER, lambda z: z.copy())
MIXED: Final = (
    NORMAL,
    Feature(FeatureType.NUMBER, np.exp),  # log-normal
    Feature(FeatureType.NUMBER, lambda z: np.maximum(z - 0.25, 0.0)),  # mostly zero
    Feature(FeatureType.CATEGORY, _zipf(12)),
    Feature(FeatureType.NUMBER, lambda z: np.where(z < -2.0, np.nan, np.floor(np.exp(0.5 * z + 1.5)))),  # counts, gaps
)
HEAVY: Final = (Feature(FeatureType.NUMBER, lambda z: np.tan(np.pi * (special.ndtr(z) - 0.5))),)
"""Student's t with one degree of freedom: no mean, no variance."""
MANY_VALUES: Final = (Feature(FeatureType.CATEGORY, _zipf(1_000)),)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of stream."""

    kind: Kind = Kind.INDEPENDENT
    reference: int = 5_000
    """Rows of the reference."""
    features: int = 5
    pane_rows: int = 32
    shuffled: bool = False
    """Whether the reference's rows have lost their order."""
    values: tuple[Feature, ...] = field(default=MIXED)
    """Repeated for as many features as there are."""

    def feature(self, index: int) -> Feature:
        """What the feature is."""
        return self.values[index % len(self.values)]


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream.

    Attributes
    ----------
    reference
        Its rows, with times where there is a season.
    pane_times
        (panes,) event time of all rows of each pane.
    live
        For each feature a column of ``panes * pane_rows`` rows.
    """

    case: Case
    reference: Rows
    pane_times: Floats
    live: tuple[Column, ...]


def make(case: Case, seed: int, stable: int, shifted: int) -> Stream:
    """Draw a stream of ``stable`` panes in which nothing changes, and ``shifted`` more in which the first feature has.

    Every feature has a generator of its own, so that the first features of a wide stream are those of a narrow one.
    """
    panes, rows = stable + shifted, case.pane_rows
    live_times = START_S + np.arange(panes) * (DAYS * DAY_S / stable if case.kind is Kind.SEASONAL else STEP_S)
    before = START_S - DAYS * DAY_S + np.arange(case.reference) * (DAYS * DAY_S / case.reference)
    shuffle = np.random.default_rng([seed, 1]).permutation(case.reference) if case.shuffled else slice(None)
    reference: list[Column] = []
    live: list[Column] = []
    for index in range(case.features):
        rng = np.random.default_rng([seed, 0, index])
        then, now = latent(case.kind, case.reference, rng), latent(case.kind, panes * rows, rng)
        if case.kind is Kind.SEASONAL:
            then, now = then + season(before, index), now + np.repeat(season(live_times, index), rows)
        if index == 0:
            now[stable * rows :] += 1.0
        value = case.feature(index).value
        reference.append(value(then[shuffle]))
        live.append(value(now))
    times = before if case.kind is Kind.SEASONAL else np.full(case.reference, np.nan)
    stages = np.zeros(case.reference, dtype=np.int8)
    offsets = np.arange(case.reference)
    rows_then = Rows(Source.PREDICTIONS, offsets, times, stages, tuple(reference))
    return Stream(case, rows_then, live_times, tuple(live))


def season(times: Floats, feature: int) -> Floats:
    """Shift of the latent variable over the day, between -1 and 1; each feature's day begins elsewhere."""
    return np.sin(2 * np.pi * (times / DAY_S + feature / 7))


def latent(kind: Kind, rows: int, rng: np.random.Generator) -> Floats:
    """Draw standard normal variables, as alike among neighbours as the kind says."""
    if kind is Kind.BURSTS:
        callers = np.repeat(rng.normal(size=rows // BURST_ROWS + 1), BURST_ROWS)[:rows]
        return callers + 0.01 * rng.normal(size=rows)
    noise = rng.normal(size=rows)
    if kind is not Kind.AUTOCORRELATED:
        return noise
    start = rng.normal(size=1) * RHO
    series, _ = signal.lfilter([np.sqrt(1 - RHO**2)], [1, -RHO], noise, zi=start)
    return np.asarray(series)


CASES: Final[Mapping[str, Case]] = {
    "independent rows": Case(),
    "AR(1), rho 0.9": Case(Kind.AUTOCORRELATED),
    "bursts of 20": Case(Kind.BURSTS),
    "30 days, daily season": Case(Kind.SEASONAL),
    "Student t(1)": Case(values=HEAVY),
    "Zipf, 1,000 values": Case(values=MANY_VALUES),
    "reference of 500": Case(reference=500),
    "reference of 50,000": Case(reference=50_000),
    "AR(1), reference of 500": Case(Kind.AUTOCORRELATED, reference=500),
    "AR(1), reference of 50,000": Case(Kind.AUTOCORRELATED, reference=50_000),
    "bursts, reference of 500": Case(Kind.BURSTS, reference=500),
    "bursts, reference of 50,000": Case(Kind.BURSTS, reference=50_000),
    "AR(1), shuffled": Case(Kind.AUTOCORRELATED, shuffled=True),
    "bursts, shuffled": Case(Kind.BURSTS, shuffled=True),
    "AR(1), shuffled, of 500": Case(Kind.AUTOCORRELATED, reference=500, shuffled=True),
    "bursts, shuffled, of 500": Case(Kind.BURSTS, reference=500, shuffled=True),
    "Zipf, reference of 500": Case(reference=500, values=MANY_VALUES),
    "10 rows a pane": Case(pane_rows=10),
    "1,000 rows a pane": Case(pane_rows=1_000),
    "50 features": Case(features=50),
    "500 features": Case(features=500),
}
"""By name; what a case does not say is as in the first."""
