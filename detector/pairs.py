"""Pairs of a prediction and what came true, in integers: the part of a profile that metrics are read from.

It stands behind the squares of a layout's vector, in sections, as many as the model's task and output ask for:

=============  ==================================================================  ==============================
section        counts                                                              of
=============  ==================================================================  ==============================
``scores``     rows by fine bin of the score                                       predictions with a score
``matched``    rows, the sum of their losses and of their expected losses          outcomes with an expected loss
``table``      rows by fine bin of the score and by what came true (0, 1), then    outcomes with a score
               the sum of scores by bin, then log losses, their squares, Brier
               losses, their squares
``confusion``  rows by class predicted and class that came true                    outcomes with a class
``errors``     rows, then the sums of ``|e|``, ``e^2``, ``e^4``, of the pinball    outcomes of a regression
               loss and its square
``bets``       for each limit of a loss, rows and the sums of what was bet on      outcomes
               their losses (`detector.limits`)
=============  ==================================================================  ==============================

Real values are counted in units of 2^-20 (2^-10 for fourth powers and squared losses), those of a regression in
standard deviations of the reference's label, clipped to 256 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.bets import LossBets, loss_bets
from detector.estimation import ExpectedLoss
from detector.outcomes import flags, log_losses, pinball_losses, positives
from detector.rows import Column, Rows, Source
from detector.score_bins import BINS, score_bins
from schemas.model_spec import CategoryBins, FrozenReference, ModelSpec, NumberBins, Output, Task, performance_signal
from schemas.performance import Loss

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNIT: Final = 2.0**20
SQUARE_UNIT: Final = 2.0**10
MOST_CLASSES: Final = 20
"""Classes with a row and a column of their own in a confusion table; the others share one."""
_CLIP: Final = 256.0


@dataclass(frozen=True)
class PairCounts:
    """Where the pairs stand in a vector, and how rows become counts.

    Attributes
    ----------
    start
        Position of the first section.
    scale
        What losses are counted in: 1, or the standard deviation of a regression's label.
    classes
        Of the confusion table: ``0`` and ``1`` (negative and positive) for a binary task.
    """

    spec: ModelSpec
    start: int
    expected: ExpectedLoss | None
    scale: float = field(init=False)
    classes: tuple[str, ...] = field(init=False)
    slices: dict[str, slice] = field(init=False)
    bets: tuple[LossBets, ...] = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        spec, frozen = self.spec, self.spec.reference.frozen
        widths: dict[str, int] = {}
        scale = 1.0
        classes: tuple[str, ...] = ()
        bets: tuple[LossBets, ...] = ()
        if spec.loss is not None and frozen is not None:
            label = frozen.bins[spec.signals[len(spec.features) + 1]]
            scale = label.scale if isinstance(label, NumberBins) else 1.0
            classes = _classes(spec, frozen)
            bets = loss_bets(spec)
            widths = {"scores": BINS if self.expected is not None and _is_score(spec) else 0, "matched": 3}
            if spec.task is Task.REGRESSION:
                widths["errors"] = 6
            elif _is_score(spec):
                widths["table"] = 3 * BINS + 4
            if classes:
                widths["confusion"] = (len(classes) + (spec.task is Task.MULTICLASS)) ** 2
            widths["bets"] = sum(each.width for each in bets)
        ends = self.start + np.cumsum([0, *widths.values()])
        pairs = zip(widths, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        made = {"scale": scale, "classes": classes, "bets": bets, "width": sum(widths.values()),
                "slices": {name: slice(begin, end) for name, begin, end in pairs}}  # fmt: skip
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def of(self, vector: NDArray[np.float64] | Ints, section: str) -> Floats:
        """Counts of a section, as floats; nothing where the model has no such section."""
        where = self.slices.get(section)
        return np.zeros(0) if where is None else vector[where].astype(np.float64)

    # ------------------------------------------------------------------------------------------------ counting

    def count_scores(self, fine: Ints, part: Ints | None, out: Ints) -> None:
        """Count predictions by the fine bin (n,) of their score; ``out`` (parts, width of the vector)."""
        to = _Sink(out, np.zeros(len(fine), dtype=np.int64) if part is None else part)
        to.ones(self.slices["scores"].start, fine, fine >= 0, BINS)

    def count(self, rows: Rows, bins: Callable[[int, Column], Ints], part: Ints | None, out: Ints) -> None:
        """Count outcome rows.

        Parameters
        ----------
        rows
            Of the source ``outcomes``; without a context nothing is counted.
        bins
            Gives the bins of a column, by the index of its signal.
        part
            (n,) the part of each row; None where there is but one.
        out
            (parts, width of the vector), added to.
        """
        pairs = _Pairs.of(self.spec, rows)
        if rows.source is not Source.OUTCOMES or pairs is None:
            return
        to = _Sink(out, np.zeros(len(rows), dtype=np.int64) if part is None else part)
        self._count_matched(pairs, rows, bins, to)
        if "table" in self.slices:
            self._count_table(pairs, to)
        if "confusion" in self.slices:
            self._count_confusion(pairs, to)
        if "errors" in self.slices:
            self._count_errors(pairs, to)
        place = self.slices["bets"].start
        for each in self.bets:
            values = pairs.loss(each.loss)
            to.sums(place, each.values(values), np.isfinite(values))
            place += each.width

    def _count_matched(self, pairs: _Pairs, rows: Rows, bins: Callable[[int, Column], Ints], to: _Sink) -> None:
        """Compare what came true with what was expected, row by row: what an estimate is corrected by."""
        if self.expected is None or rows.context is None:
            return
        context = rows.context
        if any(context[index] is None for index in self.expected.features):
            return
        expected = self.expected.of(pairs.prediction, lambda index: bins(index, cast(Column, context[index])))
        loss = pairs.basic
        known = np.isfinite(loss) & np.isfinite(expected)
        values = np.stack([np.ones(len(loss)), _units(loss / self.scale), _units(expected / self.scale)], axis=1)
        to.sums(self.slices["matched"].start, values, known)

    def _count_table(self, pairs: _Pairs, to: _Sink) -> None:
        """A score against what came true: the positive class, or for several classes that the model was right."""
        scores, start = np.clip(cast(Floats, pairs.prediction), 0.0, 1.0), self.slices["table"].start
        true = pairs.positive if self.spec.task is Task.BINARY else 1.0 - pairs.basic
        places = score_bins(scores)
        known = (places >= 0) & np.isfinite(true)
        to.ones(start, 2 * places + np.nan_to_num(true).astype(np.int64), known, 2 * BINS)
        to.weighted(start + 2 * BINS, places, _units(scores), known, BINS)
        log_loss, brier = log_losses(scores, true), (scores - true) ** 2
        values = [log_loss * UNIT, log_loss**2 * SQUARE_UNIT, brier * UNIT, brier**2 * UNIT]
        to.sums(start + 3 * BINS, np.rint(np.stack(values, axis=1)), known)

    def _count_confusion(self, pairs: _Pairs, to: _Sink) -> None:
        start = self.slices["confusion"].start
        if self.spec.task is Task.BINARY:
            # The label's class was predicted exactly where the model was right.
            true, wrong = pairs.positive, pairs.basic
            known = np.isfinite(true) & np.isfinite(wrong)
            cells = 2 * np.abs(true - wrong) + true
            to.ones(start, np.nan_to_num(cells).astype(np.int64), known, 4)
            return
        places, size = {name: place for place, name in enumerate(self.classes)}, len(self.classes) + 1
        predicted, true_ = (
            np.array([places.get(each or "", size - 1) for each in cast(Sequence[str | None], column)], dtype=np.int64)
            for column in (pairs.prediction, pairs.label)
        )
        to.ones(start, size * predicted + true_, np.isfinite(pairs.basic), size * size)

    def _count_errors(self, pairs: _Pairs, to: _Sink) -> None:
        error = np.clip((cast(Floats, pairs.label) - cast(Floats, pairs.prediction)) / self.scale, -_CLIP, _CLIP)
        quantile = self.spec.outcomes.quantile if self.spec.outcomes is not None else 0.5
        pinball = pinball_losses(error, quantile)
        values = [np.ones(len(error)), np.abs(error) * UNIT, error**2 * UNIT, error**4 * SQUARE_UNIT,
                  pinball * UNIT, pinball**2 * UNIT]  # fmt: skip
        to.sums(self.slices["errors"].start, np.rint(np.stack(values, axis=1)), np.isfinite(error))


@dataclass(frozen=True, slots=True)
class _Sink:
    """Vectors (parts, width) that rows are added to, each to that of its part (n,)."""

    out: Ints
    part: Ints

    def ones(self, start: int, places: Ints, known: NDArray[np.bool_], size: int) -> None:
        """Count rows by place."""
        flat = self.part[known] * size + places[known]
        self.out[:, start : start + size] += np.bincount(flat, minlength=len(self.out) * size).reshape(-1, size)

    def weighted(self, start: int, places: Ints, values: Floats, known: NDArray[np.bool_], size: int) -> None:
        """Add up values, whole numbers of at most 2^20, by place."""
        flat = self.part[known] * size + places[known]
        sums = np.bincount(flat, weights=values[known], minlength=len(self.out) * size)
        self.out[:, start : start + size] += sums.astype(np.int64).reshape(-1, size)

    def sums(self, start: int, values: Floats, known: NDArray[np.bool_]) -> None:
        """Add up values (n, k), whole numbers in floats; as integers, so that the order does not matter."""
        where, whole = slice(start, start + values.shape[1]), values[known].astype(np.int64)
        if len(self.out) == 1:
            self.out[0, where] += whole.sum(axis=0)
        else:
            np.add.at(self.out[:, where], self.part[known], whole)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The columns of outcome rows that pairs are made of."""

    spec: ModelSpec
    label: Column
    prediction: Column
    basic: Floats
    """(n,) the basic loss, NaN where it is not known."""

    @classmethod
    def of(cls, spec: ModelSpec, rows: Rows) -> _Pairs | None:
        """Find them; None where the prediction, the label or the loss did not come."""
        if spec.loss is None or rows.context is None:
            return None
        answer = len(spec.features)
        prediction, label = rows.context[answer], rows.columns[answer + 1]
        loss = rows.columns[spec.signals.index(performance_signal(spec.loss))]
        if prediction is None or label is None or loss is None:
            return None
        return cls(spec, label, prediction, loss if isinstance(loss, np.ndarray) else flags(loss))

    @property
    def positive(self) -> Floats:
        """1 and 0 where the label is positive or not."""
        return positives(self.spec, cast(Sequence[str | None], self.label))

    def loss(self, loss: Loss) -> Floats:
        """Return a loss that is a number, (n,)."""
        if loss in (Loss.LOG_LOSS, Loss.BRIER):
            scores = np.clip(cast(Floats, self.prediction), 0.0, 1.0)
            return log_losses(scores, self.positive) if loss is Loss.LOG_LOSS else (scores - self.positive) ** 2
        error = cast(Floats, self.label) - cast(Floats, self.prediction)
        if loss is Loss.PINBALL:
            return pinball_losses(error, self.spec.outcomes.quantile if self.spec.outcomes is not None else 0.5)
        return np.abs(error) if loss is Loss.ABSOLUTE_ERROR else error**2


def _is_score(spec: ModelSpec) -> bool:
    return spec.prediction is not None and spec.prediction.output is Output.SCORE


def _classes(spec: ModelSpec, frozen: FrozenReference) -> tuple[str, ...]:
    """Of the confusion table; none for a regression, or for several classes of which only the score is watched."""
    if spec.task is Task.BINARY:
        return "0", "1"
    if spec.task is Task.REGRESSION or _is_score(spec):
        return ()
    bins = [frozen.bins[spec.signals[len(spec.features) + offset]] for offset in (1, 0)]
    named = [name for each in bins if isinstance(each, CategoryBins) for name in each.categories]
    return tuple(dict.fromkeys(named))[:MOST_CLASSES]


def _units(values: Floats) -> Floats:
    return np.rint(np.clip(values, 0.0, _CLIP) * UNIT)
