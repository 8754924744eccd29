"""Signals and steps of simulated rows, for the tests of what is decided."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.readings import SignalBaseline, SignalReading

THRESHOLDS = (0.1, 0.2, 0.25)
TENTHS = np.full(10, 0.1)


def shifted(shares: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Shares of the same bins of a normal variable that has moved up by ``sd`` standard deviations."""
    edges = stats.norm.ppf(np.clip(np.cumsum(shares)[:-1], 0, 1))
    return np.diff(stats.norm.cdf(edges, loc=sd), prepend=0.0, append=1.0)


def baseline(
    counts: NDArray[np.int64] | Mapping[int, NDArray[np.int64]], *, name: str = "feature:x", ordered: bool = True,
    dispersion: float = 1.0, opens: bool = True,
) -> SignalBaseline:  # fmt: skip
    """Make a baseline of the whole's counts, or of counts by phase."""
    phases = dict(counts) if isinstance(counts, Mapping) else {WHOLE: np.asarray(counts)}
    return SignalBaseline(name, phases, ordered, dispersion, opens, THRESHOLDS)


def sampled(shares: NDArray[np.float64], rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts of independent rows."""
    return np.asarray(rng.multinomial(rows, shares), dtype=np.int64)


def feed(
    engine: EvidenceEngine, shares: NDArray[np.float64], steps: int, rng: np.random.Generator, rows: int = 32
) -> SignalReading:
    """Feed steps of independent rows of a single signal; return the last reading."""
    for _ in range(steps):
        (reading,) = engine.step({WHOLE: [sampled(shares, rows, rng)]})
    return reading
