"""A small model whose data has faults, for the tests of quality and service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Column, Rows, Source
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Output, PredictionSpec
from schemas.outbound import DriftEvent
from schemas.profiles import ProfileTotal
from schemas.quality import QualitySpec
from tests.support.data import MONDAY, category, numbers, spec_of

PLANS = ["basic", "plus", "pro"]
AMOUNT, AGE, WARMTH, PLAN, SCORE = range(5)
"""Columns of the rows."""
STEP = 32

Fault = Callable[[Rows], Rows]


def sound_rows(n: int, seed: int, *, first: int = 0) -> Rows:
    """Rows of an amount with two decimals, a whole age, degrees Celsius, a plan and a score, one a second."""
    rng = np.random.default_rng(seed)
    offsets = np.arange(first, first + n)
    columns = (
        np.round(rng.lognormal(5.0, 0.5, n), 2),
        rng.integers(18, 80, n).astype(np.float64),
        rng.normal(12.0, 6.0, n),
        rng.choice(PLANS, n, p=[0.6, 0.3, 0.1]).tolist(),
        rng.uniform(size=n),
    )
    return Rows(Source.PREDICTIONS, offsets, MONDAY + offsets, np.zeros(n, dtype=np.int8), columns)


def checked_model(reference_rows: int = 5_000, **settings: Any) -> ModelSpec:
    """The spec of the model, with its reference and all checks."""
    features = (*numbers("amount", "age", "warmth"), category("plan"))
    settings = {"prediction": PredictionSpec(output=Output.SCORE), "quality": QualitySpec()} | settings
    return freeze(spec_of(*features, **settings), sound_rows(reference_rows, seed=999), origin="test")


def with_column(rows: Rows, place: int, column: Column) -> Rows:
    """Rows with one column replaced."""
    return replace(rows, columns=(*rows.columns[:place], column, *rows.columns[place + 1 :]))


def in_some(values: np.ndarray[Any, Any], share: float, bad: Any, seed: int = 5) -> np.ndarray[Any, Any]:
    """Put ``bad`` in the place of a share of the values."""
    return np.where(np.random.default_rng(seed).uniform(size=len(values)) < share, bad, values)


def judged_with(spec: ModelSpec, fault: Fault, *, sound: int = 1_600, faulty: int = 1_600, seed: int = 3) -> Judged:
    """Judge sound rows and then faulty ones, in steps of 32."""
    judge = ModelJudge(spec)
    published = totals_with(spec, fault, sound=sound, faulty=faulty, seed=seed)
    return Judged(judge, [event for total in published for event in judge.fold(total)])


def totals_with(
    spec: ModelSpec, fault: Fault, *, sound: int = 1_600, faulty: int = 1_600, seed: int = 3
) -> Iterator[ProfileTotal]:
    """The running total after each 32 rows: sound ones, then faulty ones."""
    total, rows = RunningTotal(Layout(spec), "predictions", 0), sound_rows(sound + faulty, seed)
    for part in (rows.slice(0, sound), fault(rows.slice(sound, sound + faulty))):
        for start in range(0, len(part), STEP):
            piece = part.slice(start, start + STEP)
            total.add(piece, int(piece.offsets[-1]) + 1)
            yield total.to_event()


class Judged:
    """What a stream raised, and the judge of it."""

    def __init__(self, judge: ModelJudge, events: list[DriftEvent]) -> None:
        self.judge, self.events = judge, events

    @property
    def firing(self) -> set[str]:
        """Signals that had a tier in some event."""
        return {each.signal for event in self.events for each in event.signals if each.tier.rank}
