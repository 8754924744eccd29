"""The domain classifier: whether recent rows can be told from those of the reference, all features together.

Linear models on ranks and their products learn ``+1`` for recent rows and ``-1`` for reference rows. Each recent row is
paired with a reference row that no model has learned from; x is 1 where the recent one gets the higher score, 1/2 where
they are equal. The mean of x is the AUC. Where both come from one distribution it is 1/2 whatever was learned, so that
only what can be told apart is evidence: a correlation that flips while no feature by itself changes, too.

Half of the reference's rows are learned, the others only foretold: a model that has met a row would know it again. In a
stream that comes in bursts, rows are like those just before them, which is no drift: how far that goes is measured by
playing the reference's own rows as if they were the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.layout import Layout
from detector.reference_rows import RUN, decode_reference
from detector.surrogates.basis import Basis
from detector.surrogates.blocks import Blocks
from detector.surrogates.calm import CONFIDENCE
from detector.surrogates.ridge import Ridge
from detector.surrogates.rising import Asked, RisingMeans
from detector.surrogates.surrogate import BLOCK, Natural
from schemas.model_spec import LABEL, MULTIVARIATE, ModelSpec, ReferenceRows, feature_signal

Floats = NDArray[np.float64]

HALF_LIVES: Final = (128, 1_024)
"""Of the two models, in recent rows."""
THRESHOLDS: Final = (0.1, 0.15, 0.2)
"""AUC less 0.5: 0.65, in the middle, is where NannyML's quiet band ends."""
TOLERATED: Final = 0.2
"""Share of a tier's excess that its null holds."""
LEAST_ROWS: Final = 4 * RUN
"""Rows that the reference must have kept."""
RANK_VARIANCE: Final = 1 / 12
"""Of the rank of a row among others: what the AUC is a mean of."""
MOST_NAMED: Final = 5
_CALM_ROWS: Final = 128


class Domain:
    """The domain classifier of one model.

    Parameters
    ----------
    spec
        With a frozen reference, best one that has kept rows.
    layout, basis
        Of that spec.
    """

    signal = MULTIVARIATE
    withholds = False
    score_name = "auc_excess"
    thresholds = THRESHOLDS
    natural = Natural("AUC")

    def __init__(self, spec: ModelSpec, layout: Layout, basis: Basis) -> None:
        self._spec, self._layout, self._basis = spec, layout, basis
        low, middle, high = (TOLERATED * each for each in THRESHOLDS)
        self._models = [Ridge(len(basis), 1, half_life) for half_life in HALF_LIVES]
        asked = Asked(THRESHOLDS, (low, middle, high), calm_rows=_CALM_ROWS)
        self.means = RisingMeans(len(self._models), asked)
        self._blocks = Blocks(len(basis), BLOCK)
        self._paired = 0
        """Recent rows so far: where the next reference rows stand."""
        self._rows: tuple[Floats, Floats] | None = None
        """The reference's rows that are learned, and those that are only foretold; decoded when first needed."""

    def weigh(self, *, inputs_drift: bool) -> None:
        """Withhold nothing."""

    def take(self, table: Floats, carried: NDArray[np.bool_]) -> None:
        """Take sampled rows; labelled ones are passed over, since they came before as features."""
        if carried[self._layout.signals.index(LABEL)] if LABEL in self._layout.signals else False:
            return
        table = table[self._basis.knows(table)]
        learned, foretold = self._reference()
        if len(table) == 0 or len(foretold) == 0:
            return
        for block in self._blocks.push(self._basis.read(table)):
            self.means.take(self._wins(block, _line_up(foretold, self._paired)))
            self._learn(block, _line_up(learned, self._paired))
            self._paired += BLOCK

    def named(self) -> tuple[str, ...]:
        """Name the features, and pairs of them, by which rows are told apart: most telling first."""
        weights = np.abs(self._models[self._best()].weights()[:, 0])
        weights[0] = 0.0
        enough = weights.max() / 3
        order = np.argsort(-weights, kind="stable")[:MOST_NAMED]
        return tuple(self._basis.names[i] for i in order.tolist() if weights[i] >= enough > 0)

    def speaker(self, stream: int) -> str:
        """Name a model."""
        return f"domain classifier, {HALF_LIVES[stream]} rows"

    def not_judged(self) -> str | None:
        """Say what is lacking."""
        if self._sample() is None:
            return f"the reference has kept no {LEAST_ROWS} raw rows: make it anew to have them"
        if not self.means.measured:
            return f"measuring how bursty the rows are: {self.means.steps_missing} steps to go"
        return None

    def _best(self) -> int:
        return int(self.means.evidence_by_stream()[0].argmax())

    def _reference(self) -> tuple[Floats, Floats]:
        if self._rows is None:
            rows = self._kept()
            part = np.arange(len(rows)) // RUN % 2
            self._rows = rows[part == 0], rows[part == 1]
            if not self.means.calm and len(rows):
                self._calm(rows)
        return self._rows

    def _kept(self) -> Floats:
        sample = self._sample()
        if sample is None:
            return np.empty((0, len(self._basis)))
        return self._basis.read(decode_reference(self._layout, sample))

    def _sample(self) -> ReferenceRows | None:
        frozen = self._spec.reference.frozen
        for sample in (frozen and frozen.sample) or ():
            carries = feature_signal(self._spec.features[0].name) in sample.signals
            if carries and LABEL not in sample.signals and sample.rows >= LEAST_ROWS:
                return sample
        return None

    def _calm(self, rows: Floats) -> None:
        """Play the reference's rows as the stream, against rows from elsewhere in it."""
        frozen = self._spec.reference.frozen
        for start in range(0, len(rows) - BLOCK, BLOCK):
            block = rows[start : start + BLOCK]
            self.means.take_calm(self._wins(block, _line_up(rows, start + len(rows) // 2)))
            self._learn(block, _line_up(rows, start + len(rows) // 3))
        dispersions = (
            [frozen.dispersion.get(self._layout.signals[i], 1.0) for i in self._basis.features] if frozen else []
        )
        independent = len(rows) / 2 / min(max([1.0, *dispersions]), float(RUN))
        self.means.settle(at_least=0.5, error=CONFIDENCE * float(np.sqrt(RANK_VARIANCE / independent)))
        for model in self._models:
            model.a, model.b = np.zeros_like(model.a), np.zeros_like(model.b)

    def _wins(self, block: Floats, others: Floats) -> Floats:
        scores = [(model.predict(block)[:, 0], model.predict(others)[:, 0]) for model in self._models]
        return np.stack([(recent > other) + 0.5 * (recent == other) for recent, other in scores])

    def _learn(self, block: Floats, others: Floats) -> None:
        lines = np.concatenate([block, others])
        sides = np.concatenate([np.ones((BLOCK, 1)), -np.ones((BLOCK, 1))])
        for model, half_life in zip(self._models, HALF_LIVES, strict=True):
            keep = 0.5 ** (BLOCK / half_life)
            model.a, model.b = keep * model.a + lines.T @ lines, keep * model.b + lines.T @ sides

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "models": [each.state() for each in self._models],
            "means": self.means.state(),
            "blocks": self._blocks.state(),
            "paired": self._paired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""
        for each, saved in zip(self._models, state["models"], strict=True):
            each.restore(saved)
        self.means.restore(state["means"])
        self._blocks.restore(state["blocks"])
        self._paired = state["paired"]


def _line_up(rows: Floats, start: int) -> Floats:
    """A block of rows from a place on, beginning again at the end."""
    return rows[np.arange(start, start + BLOCK) % len(rows)]
