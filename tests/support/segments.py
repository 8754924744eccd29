"""A model whose rows are broken down by country and device, and streams of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Rows, Source
from detector.segments.values import segment_columns
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent
from schemas.segments import SegmentSpec
from tests.support.data import MONDAY, numbers, spec_of

COUNTRIES = ("DE", "FR", "IT", "ES", "US")
SHARES = (0.4, 0.3, 0.15, 0.1, 0.05)
DEVICES = ("mobile", "web")
STEP = 32


class Traffic:
    """Rows of two features, one a second: ``x`` is half a sd higher in each further country, ``y`` knows none."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.offset = 0

    def rows(
        self, spec: ModelSpec, n: int, *, shares: Sequence[float] = SHARES, shifted: str | None = None, by: float = 2.0
    ) -> Rows:
        """The next rows; in the country ``shifted``, ``y`` is higher by so many sd."""
        offsets = np.arange(self.offset, self.offset + n)
        self.offset += n
        places = self._rng.choice(len(COUNTRIES), size=n, p=shares)
        countries = [COUNTRIES[place] for place in places.tolist()]
        devices = [DEVICES[place] for place in self._rng.integers(2, size=n).tolist()]
        x = self._rng.normal(size=n) + 0.5 * places
        y = self._rng.normal(size=n) + by * np.array([country == shifted for country in countries])
        segments = segment_columns(spec, (), {"country": countries, "device": devices})
        return Rows(Source.PREDICTIONS, offsets, MONDAY + offsets, np.zeros(n, dtype=np.int8), (x, y, *segments))


def broken_down(reference_rows: int = 8_000, seed: int = 999, **segments: Any) -> ModelSpec:
    """The spec of the model, with its reference."""
    fields = {"fields": ("country", "device"), **segments}
    spec = spec_of(*numbers("x", "y"), segments=SegmentSpec(**fields))
    return freeze(spec, Traffic(seed).rows(spec, reference_rows), origin="test")


def play(
    spec: ModelSpec, traffic: Traffic, steps: int, judge: ModelJudge, total: RunningTotal, **rows: Any
) -> list[DriftEvent]:
    """Judge the next ``steps`` steps of 32 rows."""
    events: list[DriftEvent] = []
    for _ in range(steps):
        total.add(traffic.rows(spec, STEP, **rows), traffic.offset)
        events += judge.fold(total.to_event())
    return events


def watch(spec: ModelSpec, seed: int = 1, *, quiet: int = 100, changed: int = 100, **rows: Any) -> list[DriftEvent]:
    """Judge a stream that is as the reference for ``quiet`` steps, and changed for more."""
    traffic, judge = Traffic(seed), ModelJudge(spec)
    total = RunningTotal(Layout(spec), "predictions", 0)
    return [*play(spec, traffic, quiet, judge, total), *play(spec, traffic, changed, judge, total, **rows)]
