"""The mimic: a simple model of the production model, learned once.

It learns on the first rows of the reference what the model answers, and is checked on the others: it is wrong about the
model at some rate. When that rate jumps at the same version, the model, or what is made of the features on the way to
it, was changed silently. (A change of the features alone can raise it too, where they leave what the mimic has seen:
the diagnosis names both.) A number is foretold as its rank in the reference, so that no outlier matters.

It does not learn on, so that it cannot get used to what it should report. Where the reference has no predictions, the
first rows of the stream take its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.bins import make_binner
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.reference import reference_vectors
from detector.reference_rows import decode_reference
from detector.surrogates.basis import Basis, rank_of
from detector.surrogates.blocks import Blocks
from detector.surrogates.learners import answer, targets
from detector.surrogates.ridge import Ridge
from detector.surrogates.rising import Asked, RisingMeans
from detector.surrogates.surrogate import BLOCK, Natural
from schemas.model_spec import LABEL, MIMIC, PREDICTION, ModelSpec, NumberBins

Floats = NDArray[np.float64]

LEARNED: Final = 0.6
"""Share of the reference's rows that are learned; on the others the mimic is checked."""
LEARNED_ROWS: Final = 600
CALM_ROWS: Final = 400
"""Of the stream, where the reference has fewer."""
THRESHOLDS: Final = {True: (0.05, 0.1, 0.2), False: (0.25, 0.5, 1.0)}
"""Rises of the rate at which a class is foretold wrongly; of the mean error of a number, relative."""
TOLERATED: Final = 0.5
USELESS: Final = 0.8
"""A mimic that is wrong so often, compared with one that knows no features, knows nothing."""


class Mimic:
    """The mimic of one model.

    Parameters
    ----------
    spec
        With predictions that carry their features.
    layout, basis
        Of that spec.
    """

    signal = MIMIC
    withholds = False

    def __init__(self, spec: ModelSpec, layout: Layout, basis: Basis) -> None:
        frozen = spec.reference.frozen
        if spec.prediction is None or frozen is None:
            raise ValueError("a mimic needs predictions and a frozen reference")
        self._spec, self._layout, self._basis = spec, layout, basis
        self._answer = layout.signals.index(PREDICTION)
        bins = frozen.bins[PREDICTION]
        counts = layout.signal_counts(reference_vectors(spec, layout)[WHOLE])[self._answer]
        self._rank = rank_of(bins, counts) if isinstance(bins, NumberBins) else None
        self._classes = 0 if isinstance(bins, NumberBins) else make_binner(bins).width
        self.thresholds = THRESHOLDS[bool(self._classes)]
        self.score_name = "increase" if self._classes else "relative_increase"
        self.natural = Natural("wrong" if self._classes else "error")
        minor, moderate, significant = (TOLERATED * each for each in self.thresholds)
        self.means = RisingMeans(
            1, Asked(self.thresholds, (minor, moderate, significant), relative=not self._classes, calm_rows=CALM_ROWS)
        )
        self._model = Ridge(len(basis), max(self._classes, 1))
        self._weights: Floats | None = None
        """Of the model, once it has learned."""
        self._learned = 0
        self._answers = np.zeros(self._classes)
        """How often each class was learned."""
        self._blocks = Blocks(len(basis) + 1, BLOCK)
        self._begun = False

    def weigh(self, *, inputs_drift: bool) -> None:
        """Withhold nothing."""

    def take(self, table: Floats, carried: NDArray[np.bool_]) -> None:
        """Take sampled rows; those without a prediction or any feature are passed over."""
        if not carried[self._answer] or (LABEL in self._layout.signals and carried[self._layout.signals.index(LABEL)]):
            return
        self._begin()
        for block in self._blocks.push(self._lines(table)):
            if self._weights is None:
                self._learn(block)
                if self._learned >= LEARNED_ROWS:
                    self._end()
            else:
                self.means.take(self._wrong(block))

    def importance(self) -> Floats | None:
        """How much the model seems to rely on each feature, (features,), 1 on average; None before it is known."""
        if self._weights is None:
            return None
        by_feature = self._basis.weight_by_feature(np.sqrt((self._weights**2).sum(axis=1)))
        return by_feature / max(float(by_feature.mean()), 1e-12)

    def speaker(self, stream: int) -> str:
        """Name it."""
        return "mimic"

    def not_judged(self) -> str | None:
        """Say what is waited for, or that the mimic is of no use."""
        if self._weights is None:
            return f"learning what the model answers: {self._learned} of {LEARNED_ROWS} rows"
        if not self.means.calm:
            return f"checking what was learned of the model: {self.means.collected} of {CALM_ROWS} rows"
        if self._is_useless:
            return f"what the model answers cannot be foretold: the mimic errs by {float(self.means.mean[0]):.3g}"
        if not self.means.measured:
            return f"measuring how bursty the rows are: {self.means.steps_missing} steps to go"
        return None

    @property
    def _is_useless(self) -> bool:
        # A rank that is foretold as 0 is wrong by 1/2 on average, half of which is how x counts it.
        share = self._answers.max() / max(self._learned, 1) if self._classes else 0.75
        return bool(self.means.mean[0] > USELESS * (1 - share))

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        lines = self._lines(self._reference())
        learned = int(LEARNED * len(lines))
        if len(lines) - learned < CALM_ROWS:
            return
        self._learn(lines[:learned])
        self._end()
        self.means.take_calm(self._wrong(lines[learned:]))
        self.means.settle()

    def _reference(self) -> Floats:
        frozen = self._spec.reference.frozen
        for sample in (frozen and frozen.sample) or ():
            if PREDICTION in sample.signals and LABEL not in sample.signals:
                return decode_reference(self._layout, sample)
        return np.empty((0, len(self._layout.signals)))

    def _lines(self, table: Floats) -> Floats:
        known = np.isfinite(table[:, self._answer]) & self._basis.knows(table)
        if self._classes:
            known &= table[:, self._answer] < self._classes - 2  # not missing, not invalid
        table = table[known]
        answers = table[:, self._answer]
        return np.column_stack([self._basis.read(table), answers if self._rank is None else self._rank.read(answers)])

    def _learn(self, lines: Floats) -> None:
        z, told = lines[:, :-1], lines[:, -1]
        self._model.learn(z, targets(told, self._classes))
        self._learned += len(lines)
        if self._classes:
            self._answers = self._answers + np.bincount(told.astype(np.int64), minlength=self._classes)

    def _end(self) -> None:
        """Stop learning."""
        self._weights = self._model.weights()
        self._model = Ridge(0, 0)

    def _wrong(self, lines: Floats) -> Floats:
        """How wrong the mimic is about each row, (1, n), 0 to 1."""
        z, told = lines[:, :-1], lines[:, -1]
        weights = self._model.weights() if self._weights is None else self._weights
        foretold = answer(np.asarray(z @ weights), self._classes)
        if self._classes:
            return np.asarray((foretold != told).astype(np.float64))[None]
        return np.asarray(np.abs(np.clip(foretold, -1, 1) - told) / 2)[None]

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "model": self._model.state(),
            "weights": None if self._weights is None else self._weights.copy(),
            "learned": self._learned,
            "answers": self._answers.copy(),
            "means": self.means.state(),
            "blocks": self._blocks.state(),
            "begun": self._begun,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""
        self._weights = None if state["weights"] is None else state["weights"].copy()
        if self._weights is not None:
            self._model = Ridge(0, 0)
        self._model.restore(state["model"])
        self._learned, self._answers, self._begun = state["learned"], state["answers"].copy(), state["begun"]
        self.means.restore(state["means"])
        self._blocks.restore(state["blocks"])
