"""What is said of the service: quantiles of the latency and shares of failed requests, of recent rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.layout import Layout
from detector.quality.service import BINS, EDGES, ERRORS, KNOWN, SLOW, TIMED, TIMEOUTS, WIDTH, service_signal
from schemas.outbound import ServiceStatus
from schemas.quality import ServiceCheck

HALF_LIFE: Final = 2_048.0
"""In rows."""


class ServiceReport:
    """What is said of recent requests.

    Parameters
    ----------
    layout
        Of a spec with a service; of others nothing is reported.
    """

    def __init__(self, layout: Layout) -> None:
        rate = next((rate for rate in layout.rates if rate.signal == service_signal(ServiceCheck.LATENCY)), None)
        self._start = None if rate is None else rate.bad[0] - SLOW
        self.recent = np.zeros(WIDTH)

    def add(self, vector: NDArray[np.int64]) -> None:
        """Take in the rows of a step, given as one vector of the layout, all phases together."""
        if self._start is not None:
            step = vector[self._start : self._start + WIDTH]
            self.recent = self.recent * 2.0 ** (-max(step[KNOWN], step[TIMED]) / HALF_LIFE) + step

    def status(self) -> ServiceStatus | None:
        """Say how recent requests were answered; None where the spec does not ask."""
        if self._start is None:
            return None
        p50, p95, p99 = (self._quantile(share) for share in (0.5, 0.95, 0.99))
        known = self.recent[KNOWN]
        errors, timeouts = (round(float(self.recent[at] / known), 6) if known else None for at in (ERRORS, TIMEOUTS))
        return ServiceStatus(
            latency_p50_ms=p50, latency_p95_ms=p95, latency_p99_ms=p99, errors=errors, timeouts=timeouts
        )

    def _quantile(self, share: float) -> float | None:
        """The upper edge of the bin in which a quantile of the latencies lies, ms."""
        below = np.cumsum(self.recent[BINS:])
        if below[-1] <= 0:
            return None
        place = int(np.searchsorted(below, share * below[-1]))
        return round(float(EDGES[min(place, len(EDGES) - 1)]), 3)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"recent": self.recent.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; one of an earlier version of driftline has none."""
        if state:
            self.recent = state["recent"].copy()
