"""driftline with surrogate models over rows, as a worker runs it: rows, samples and totals, a judge; by signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from agents.files import by_source
from bench.contenders import Seen
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.outcomes import outcome_columns
from detector.reference import freeze
from detector.rows import Column, Rows, Source, carried
from detector.totals import RunningTotal
from schemas.model_spec import (
    FeatureSpec,
    FeatureType,
    ModelSpec,
    OutcomeSpec,
    Output,
    PredictionSpec,
    SurrogateSpec,
    Task,
)
from schemas.outbound import Tier

PANE_ROWS: Final = 32


def spec_of(features: int, *, labels: bool = True, output: Output = Output.CLASS, **settings: Any) -> ModelSpec:
    """Write the spec of a model of number features, with surrogates and otherwise default settings."""
    task = Task.BINARY if output is Output.SCORE else Task.MULTICLASS
    return ModelSpec(
        model="m",
        version="1",
        task=task,
        features=tuple(FeatureSpec(name=f"f{i}", type=FeatureType.NUMBER) for i in range(features)),
        prediction=PredictionSpec(output=output),
        outcomes=OutcomeSpec() if labels else None,
        surrogates=SurrogateSpec(),
        **settings,
    )


def labelled_rows(spec: ModelSpec, seen: Seen, start: int) -> Rows:
    """Put rows of classes in columns, offsets counted from ``start``."""
    labels, predicted = ([str(each) for each in column.tolist()] for column in (seen.y, seen.predicted))
    columns = (*seen.x.T, predicted, *outcome_columns(spec, labels, predicted))
    return plain_rows(columns, start)


def plain_rows(columns: Sequence[Column | None], start: int) -> Rows:
    """Put columns in the order of the spec's signals into rows without times."""
    count = len(columns[0]) if columns[0] is not None else 0
    return Rows(
        Source.PREDICTIONS,
        np.arange(start, start + count),
        np.zeros(count),
        np.zeros(count, dtype=np.int8),
        tuple(columns),
    )


@dataclass
class Watching:
    """A judge and its totals; remembers in which row each signal first had a tier.

    Parameters
    ----------
    spec
        Without a reference.
    reference
        Its rows.
    """

    spec: ModelSpec
    reference: Rows | None
    first: dict[str, int] = field(default_factory=dict)
    """By signal: offset behind the pane in which it rose."""

    def __post_init__(self) -> None:
        if self.reference is not None:
            self.spec = freeze(self.spec, by_source(self.reference, self.spec), origin="bench")
            self.reference = None
        layout = Layout(self.spec)
        sources = [source for source in Source if any(carried(self.spec, source))]
        self.judge = ModelJudge(self.spec)
        self.totals = {source: RunningTotal(layout, source.value, 0) for source in sources}

    def read(self, rows: Rows, *, until: frozenset[str] | None = None) -> None:
        """Judge full panes of rows; what does not fill one is left out.

        It ends as soon as all of ``until`` have had a tier, if that is given.
        """
        for start in range(0, len(rows) - PANE_ROWS + 1, PANE_ROWS):
            pane = rows.slice(start, start + PANE_ROWS)
            behind = int(pane.offsets[-1]) + 1
            for part in by_source(pane, self.spec):
                total = self.totals[part.source]
                total.add(part, behind)
                # Without times: steps are then cut by rows alone, as in a backtest of a file without them.
                self.judge.fold(total.to_event().model_copy(update={"time": None}))
            self._note(behind)
            if until is not None and until <= self.first.keys():
                return

    def _note(self, behind: int) -> None:
        for status in self.judge.status():
            for signal in status.signals:
                if signal.tier is not Tier.NONE:
                    self.first.setdefault(signal.signal, behind)

    def branch(self) -> Self:
        """Return another that goes on from here, with nothing noted."""
        other = type(self)(self.spec, None)
        other.judge = ModelJudge.restore(self.spec, self.judge.state())
        for source, total in self.totals.items():
            if total.next_offset > 0:
                layout = other.totals[source].layout
                other.totals[source] = RunningTotal.from_event(total.to_event(), layout)
        return other
