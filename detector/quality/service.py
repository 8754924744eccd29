"""How the service answers: latencies in fixed log-spaced bins, errors and timeouts. They add and subtract as rows do.

Places in the vector, from the counter's start::

    rows whose status is known | errors | timeouts | rows whose latency is known | slow | latencies below 1/8 ms
    | a quarter of a doubling each ... | from 2^20 ms (17 minutes) on

A quantile read off the bins is within 2^(1/4) (19 %) of the true one between the two ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.quality.binned import Binned
from detector.quality.counters import Carry, Counter, Mask
from detector.quality.rates import Rate
from detector.rows import ANSWERED, Rows
from schemas.model_spec import ModelSpec
from schemas.outbound import Family
from schemas.quality import EXPECTED_RATE, USUAL_TIERS, Answered, ServiceCheck, ServiceSpec

Floats = NDArray[np.float64]

EDGES: Final[Floats] = 2.0 ** (np.arange(-12, 81) / 4)
"""Milliseconds at which bins begin and end: 1/8 ms to 17 minutes."""
KNOWN, ERRORS, TIMEOUTS, TIMED, SLOW, BINS = range(6)
"""Where each section begins."""
WIDTH: Final = BINS + len(EDGES) + 1

PLACES: Final = {
    ServiceCheck.LATENCY: (SLOW, TIMED, "slow"),
    ServiceCheck.ERRORS: (ERRORS, KNOWN, "errors"),
    ServiceCheck.TIMEOUTS: (TIMEOUTS, KNOWN, "timeouts"),
}


def service_signal(check: ServiceCheck) -> str:
    """Name the signal that watches a fault of the service."""
    return f"service:{check}"


class ServiceCounter:
    """Counts latencies and how requests ended."""

    width = WIDTH
    carries: Mapping[str, int] = {}

    def __init__(self, slow_ms: float, spec: ServiceSpec | None) -> None:
        self._slow_ms, self._spec = slow_ms, spec

    def rates(self, start: int) -> Sequence[Rate]:
        """One rate for each fault, while the spec has not left the service out."""
        if self._spec is None:
            return ()
        return [
            Rate(
                service_signal(check),
                Family.SERVICE,
                self._spec.tiers.get(check, USUAL_TIERS),
                bad=(start + bad,),
                rows=(start + rows,),
                what=what,
                expected=self._spec.expected.get(check, EXPECTED_RATE),
            )
            for check, (bad, rows, what) in PLACES.items()
        ]

    def count(self, rows: Rows, carry: Carry) -> Mask | None:
        """Count the rows of which something is known."""
        if rows.service is None:
            return None
        latency, status = rows.service.T
        timed = np.isfinite(latency) & (latency >= 0)
        found = np.zeros((WIDTH, len(rows)), dtype=np.bool_)
        found[KNOWN] = ~np.isnan(status)
        found[ERRORS] = status == ANSWERED.index(Answered.ERROR)
        found[TIMEOUTS] = status == ANSWERED.index(Answered.TIMEOUT)
        found[TIMED] = timed
        found[SLOW] = timed & (latency >= self._slow_ms)
        which = np.flatnonzero(timed)
        found[BINS + EDGES.searchsorted(latency[which], side="right"), which] = True
        return found


def service_counters(spec: ModelSpec, signals: Sequence[Binned]) -> Sequence[Counter]:
    """Make the counter of a spec whose service is counted."""
    slow_ms = None if spec.counted is None else spec.counted.slow_ms
    return () if slow_ms is None else (ServiceCounter(slow_ms, spec.service),)
