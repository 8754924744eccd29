"""A small model with a reference, and a stream of its rows as running totals: what a judge is fed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import STAGES, Rows, Source
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Output, PredictionSpec, Stage
from schemas.outbound import DriftEvent
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY, numbers, spec_of

STEP = 32


class Stream:
    """Rows of three independent standard normal features and a uniform score, drawn from one seed."""

    def __init__(self, seed: int, partition: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.partition = partition
        self.offset = 0

    def rows(self, n: int, *, shift: float = 0.0, stage: Stage = Stage.PRODUCTION) -> Rows:
        """The next rows, one a second; ``shift`` moves the first feature, in sd."""
        offsets = np.arange(self.offset, self.offset + n)
        self.offset += n
        features = self._rng.normal(size=(3, n))
        features[0] += shift
        stages = np.full(n, STAGES.index(stage), dtype=np.int8)
        return Rows(Source.PREDICTIONS, offsets, MONDAY + offsets, stages, (*features, self._rng.uniform(size=n)))


def watched_model(reference_rows: int = 5_000, **settings: object) -> ModelSpec:
    """The spec of the stream's model, with its reference."""
    spec = spec_of(*numbers("x", "y", "z"), prediction=PredictionSpec(output=Output.SCORE), **settings)
    return freeze(spec, Stream(seed=999).rows(reference_rows), origin="test")


def totals(
    spec: ModelSpec, stream: Stream, steps: int, *, shift: float = 0.0, total: RunningTotal | None = None
) -> Iterator[ProfileTotal]:
    """The running total after each of the next ``steps`` steps of 32 rows."""
    running = RunningTotal(Layout(spec), "predictions", stream.partition) if total is None else total
    for _ in range(steps):
        running.add(stream.rows(STEP, shift=shift), stream.offset)
        yield running.to_event()


def drifting_totals(spec: ModelSpec, seed: int, *, quiet: int = 60, drifted: int = 40) -> list[ProfileTotal]:
    """Totals of a stream that is stable for ``quiet`` steps and shifted by two sd for ``drifted`` more."""
    stream = Stream(seed)
    running = RunningTotal(Layout(spec), "predictions", 0)
    stable = list(totals(spec, stream, quiet, total=running))
    return stable + list(totals(spec, stream, drifted, shift=2.0, total=running))


def judged(judge: ModelJudge, published: list[ProfileTotal]) -> list[DriftEvent]:
    """Every event that the totals raise, in order."""
    return [event for total in published for event in judge.fold(total)]
