"""Challengers: simple models trained on recent labelled rows, compared with the production model on the same rows.

Each foretells a block of rows before it learns them. For every row ``d = loss(production) - loss(challenger)``, bounded
in -1 to 1. In a calm stretch (the reference's labelled rows, else the first of the stream) d has some mean: the
production model knows more than a model that saw a few hundred rows, so it is mostly negative. When the concept changes
the challengers learn it and the production model does not: d rises, even where its loss falls. A production model that
keeps learning is compared in the same way.

How well a challenger does by itself supports this: where a model that knows the last few dozen rows is suddenly right
more often than it ever was, the labels follow another rule, and that shows sooner than a difference does. It counts
only as far as the gap confirms it (`rising.CONFIRMED`): inputs that have become easier are no new concept.

Inputs that changed can close the gap too. Where a feature drifts, the evidence is withheld as long as the production
model loses what a model of its losses on the reference foretells from the features (`Challenger.weigh`).

This is the paired learner of Bach and Maloof 2008 with the production model as the stable one, several memories for the
reactive one, and an e-detector (`rising`) in the place of their count.
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
from detector.surrogates.basis import Basis
from detector.surrogates.blocks import Blocks
from detector.surrogates.learners import learners, targets
from detector.surrogates.loss_record import LossRecord
from detector.surrogates.rising import Asked, RisingMeans
from detector.surrogates.surrogate import Natural
from schemas.model_spec import CONCEPT, LABEL, ModelSpec, NumberBins, performance_signal
from schemas.performance import Loss

Floats = NDArray[np.float64]

BLOCK: Final = 8
"""Labelled rows foretold, then learned, at once: fewer than elsewhere, as the first after a change teach most."""
CALM_ROWS: Final = 400
"""Labelled rows on which the gap is measured, at the least."""
SKIPPED_ROWS: Final = 1_024
"""Labelled rows of the stream before them, so that challengers know by then as much as they ever will."""
LARGEST_LOSS: Final = 4.0
"""Differences of absolute errors beyond so many of the reference's mean one count as that."""
SURPRISING: Final = 2.0
"""Standard errors by which the loss differs from what the features foretell, where the inputs have changed too."""
TOLERATED: Final = 0.5
"""Share of a tier's rise that its null holds, as of other losses (`detector.losses`)."""


class Challenger:
    """All challengers of one model.

    Parameters
    ----------
    spec
        With labels and predictions.
    layout, basis
        Of that spec.
    """

    signal = CONCEPT

    def __init__(self, spec: ModelSpec, layout: Layout, basis: Basis) -> None:
        if spec.loss is None or spec.reference.frozen is None or spec.outcomes is None:
            raise ValueError("a challenger needs labels, predictions and a frozen reference")
        self._layout, self._basis, frozen = layout, basis, spec.reference.frozen
        self._label = layout.signals.index(LABEL)
        self._loss = layout.signals.index(performance_signal(spec.loss))
        label, loss = (frozen.bins[layout.signals[i]] for i in (self._label, self._loss))
        self.classes = 0 if isinstance(label, NumberBins) else make_binner(label).width
        """0: numbers are foretold."""
        self._center, self._scale = (label.center, label.scale) if isinstance(label, NumberBins) else (0.0, 1.0)
        self._unit = 1.0
        if isinstance(loss, NumberBins):
            counts = layout.signal_counts(_whole(spec, layout))[self._loss]
            self._unit = LARGEST_LOSS * _mean_loss(loss, counts) / self._scale
        self._keeps_learning = spec.learning == "continuous"
        tiers = spec.outcomes.tiers_of(spec.loss)
        self.thresholds = (tiers.minor, tiers.moderate, tiers.significant)
        self.score_name = "increase" if spec.loss is Loss.ERROR else "relative_increase"
        span = 2.0 if self.classes else 2.0 * LARGEST_LOSS
        self.natural = Natural("gap", span, -span / 2)
        columns, features = len(basis), len(basis.features)
        self._learners = learners(columns, basis.linear, features, self.classes)
        tolerated = (TOLERATED * tiers.minor, TOLERATED * tiers.moderate, TOLERATED * tiers.significant)
        asked = Asked(
            self.thresholds,
            tolerated,
            span,
            supporting=len(self._learners),
            calm_rows=CALM_ROWS,
            skipped_rows=SKIPPED_ROWS,
            lowers=self._keeps_learning,
        )
        self.means = RisingMeans(2 * len(self._learners), asked)
        self._blocks = Blocks(columns + features + 2, BLOCK)
        self.record = LossRecord(columns, max(self.classes, 1))
        self._begun = False
        self.withholds = False

    def take(self, table: Floats, carried: NDArray[np.bool_]) -> None:
        """Take sampled rows; those without a label, a loss or any feature are passed over."""
        if not (carried[self._label] and carried[self._loss]):
            return
        self._begin()
        for block in self._blocks.push(self._lines(table)):
            self._learn(block)

    def reference(self) -> Floats:
        """Return the reference's labelled rows as lines: basis, codes, target, loss."""
        return self._lines(labelled_reference(self._layout))

    def split(self, lines: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Take lines apart: basis (n, K), codes (n, F), targets (n,), losses of the production model (n,)."""
        columns = len(self._basis)
        return lines[:, :columns], lines[:, columns:-2], lines[:, -2], lines[:, -1]

    def losses(self, foretold: Floats, target: Floats) -> Floats:
        """Loss of each row, (n,), in the same unit as the production model's."""
        return np.asarray((foretold != target).astype(np.float64) if self.classes else np.abs(foretold - target))

    def in_unit(self, loss: float) -> float:
        """Turn a loss into the unit of the label."""
        return loss * self._scale

    def speaker(self, stream: int) -> str:
        """Name a challenger."""
        return self._learners[stream].name

    def not_judged(self) -> str | None:
        """Say what is waited for."""
        if not self.means.calm:
            return f"measuring the gap to the challengers: {self.means.collected} of {CALM_ROWS} labelled rows"
        if not self.means.measured:
            return f"measuring how bursty the labelled rows are: {self.means.steps_missing} steps to go"
        return None

    def weigh(self, *, inputs_drift: bool) -> None:
        """Withhold the evidence where the inputs have changed and the model loses what they let foresee.

        Other inputs can close the gap by themselves: where one class has become rare, a constant is right as often as
        any model. Then only losses that the features do not foretell, higher or lower ones, speak of another concept.
        """
        self.withholds = inputs_drift and not self._is_surprised()

    def _is_surprised(self) -> bool:
        losses = self.record.compare()
        if losses is None:
            return False
        error = losses.error * float(np.sqrt(self.means.phi().max()))
        return abs(losses.realised - losses.expected) > SURPRISING * error

    def _begin(self) -> None:
        """Go through the reference's labelled rows before the first of the stream.

        Twice, and the calm stretch is of the second time: a challenger that still learns would close the gap by itself
        later on. That it has met these rows before makes it better on them, and the null larger.
        """
        if self._begun:
            return
        self._begun = True
        lines = self.reference()
        # A model that keeps learning was worse in the reference's first rows than it is now.
        left_out = len(lines) // 2 if self._keeps_learning else 0
        for start in range(0, len(lines), BLOCK):
            self._learn(lines[start : start + BLOCK], calm=False)
        for start in range(0, len(lines), BLOCK):
            self._learn(lines[start : start + BLOCK], calm=start >= left_out)
        self.means.settle()

    def _learn(self, block: Floats, *, calm: bool | None = None) -> None:
        """Foretell a block, then learn it; ``calm`` says of the reference's rows whether they are calm."""
        z, codes, target, loss = self.split(block)
        own = np.stack([self.losses(each.predict(z, codes), target) for each in self._learners]) / self._unit
        gaps = (1 + np.clip(loss / self._unit - own, -1, 1)) / 2
        x = np.concatenate([gaps, 1 - np.minimum(own, 1)])
        if not self.means.calm and calm is not False:
            self.record.learn_calm(z, targets(target, self.classes), loss)
        if calm:
            self.means.take_calm(x)
        elif calm is None:
            self.means.take(x)
            self.record.learn(z, targets(target, self.classes), loss)
        for each in self._learners:
            each.learn(z, codes, target)

    def _lines(self, table: Floats) -> Floats:
        target, loss = table[:, self._label], table[:, self._loss]
        if self.classes:
            known = (loss == 0) | (loss == 1)  # bins of a boolean: false, true, then what is neither
        else:
            known = np.isfinite(target) & np.isfinite(loss)
            target = np.clip((target - self._center) / self._scale, -8, 8)
            loss = loss / self._scale
        known &= self._basis.knows(table)
        table = table[known]
        return np.column_stack([self._basis.read(table), self._basis.codes(table), target[known], loss[known]])

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "learners": [each.state() for each in self._learners],
            "means": self.means.state(),
            "blocks": self._blocks.state(),
            "record": self.record.state(),
            "begun": self._begun,
            "withholds": self.withholds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""
        for each, saved in zip(self._learners, state["learners"], strict=True):
            each.restore(saved)
        self.means.restore(state["means"])
        self._blocks.restore(state["blocks"])
        self.record.restore(state["record"])
        self._begun = state["begun"]
        self.withholds = state["withholds"]


def labelled_reference(layout: Layout) -> Floats:
    """Return the reference's rows that carry a label, as a table; none where it kept none."""
    frozen = layout.spec.reference.frozen
    for sample in (frozen and frozen.sample) or ():
        if LABEL in sample.signals:
            return decode_reference(layout, sample)
    return np.empty((0, len(layout.signals)))


def _whole(spec: ModelSpec, layout: Layout) -> NDArray[np.int64]:
    return reference_vectors(spec, layout)[WHOLE]


def _mean_loss(bins: NumberBins, counts: NDArray[np.int64]) -> float:
    """Mean absolute error of the reference; 1 scale where it had none."""
    costs = np.array([bins.edges[0], *bins.means, bins.edges[-1]])
    rows = int(counts[:-2].sum())
    mean = float(counts[:-2] @ costs) / rows if rows else 0.0
    return mean if mean > 0 else bins.scale
