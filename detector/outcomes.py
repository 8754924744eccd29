"""What a label says of a prediction: the columns of an outcome row.

An outcome row carries the label, under the signal ``label``, and the losses, each under ``performance:<loss>``:

===================  =====================================================================================
loss                 of a row
===================  =====================================================================================
``error``            ``true`` where the class that was predicted is not the label. Where events carry a
                     score and no class, the positive class is predicted from ``outcomes.threshold`` on
``false_discovery``  of rows predicted positive, ``true`` where the label is not; missing in the others
``miss``             of rows whose label is positive, ``true`` where another was predicted; likewise
``log_loss``         ``-log p`` (nats), p being the probability given to what came true, at least 1e-6
``brier``            ``(score - y)^2``, y being 1 where the label is positive, else 0
``absolute_error``   ``|label - prediction|``
``squared_error``    ``(label - prediction)^2``
``pinball``          ``max(q (label - prediction), (q - 1) (label - prediction))``
===================  =====================================================================================

A loss is missing where there is no prediction to compare with. Behind the losses stand the estimated performance, if it
is watched, and the shares of segments: no outcome carries them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.rows import FALSE, INVALID, TRUE, Column
from schemas.model_spec import ModelSpec, Task
from schemas.performance import Loss

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

POSITIVE: Final = frozenset({"1", TRUE, "True", "yes"})
"""Labels that mean the positive class where the spec names none."""

LEAST_PROBABILITY: Final = 1e-6
"""A probability of 0 for what came true would cost infinitely much."""


def outcome_columns(
    spec: ModelSpec, labels: Column, predicted: Column | None, scores: Floats | None = None
) -> list[Column | None]:
    """Make the columns of the signals behind the prediction, in the order of ``spec.signals``.

    Parameters
    ----------
    labels
        (n,) classes, or numbers for a regression.
    predicted
        (n,) classes or numbers that were predicted; None where events carry none.
    scores
        (n,) of the positive class; they stand in where there is no class.
    """
    if spec.outcomes is None:
        return []
    not_carried: list[Column | None] = [None] * (spec.estimates + len(spec.segment_signals))
    pairs: Pairs | None = None
    if spec.task is Task.REGRESSION:
        if predicted is not None:
            pairs = Pairs(spec, errors=cast(Floats, labels) - cast(Floats, predicted))
    else:
        classes = cast(Sequence[str | None], labels)
        answers = cast(Sequence[str | None] | None, predicted)
        if answers is not None or scores is not None:
            wrong = errors(classes, answers) if answers is not None else score_errors(spec, classes, scores)
            pairs = Pairs(spec, labels=classes, wrong=wrong, scores=scores)
    return [labels, *(None if pairs is None else LOSSES[loss](pairs) for loss in spec.losses), *not_carried]


def errors(labels: Sequence[str | None], predicted: Sequence[str | None]) -> list[str | None]:
    """Tell where another class came true than was predicted; None where one of them is missing or invalid."""
    return [
        None if _unknown(label) or _unknown(answer) else FALSE if label == answer else TRUE
        for label, answer in zip(labels, predicted, strict=True)
    ]


def score_errors(spec: ModelSpec, labels: Sequence[str | None], scores: Floats | None) -> list[str | None]:
    """Do the same for scores: the positive class is predicted from the spec's threshold on."""
    if scores is None:
        return [None] * len(labels)
    threshold = spec.outcomes.threshold if spec.outcomes is not None else 0.5
    predicted = (scores >= threshold).tolist()
    readable = np.isfinite(scores).tolist()
    named = positive_classes(spec)
    return [
        None if _unknown(label) or not known else FALSE if (label in named) == answer else TRUE
        for label, answer, known in zip(labels, predicted, readable, strict=True)
    ]


def positive_classes(spec: ModelSpec) -> frozenset[str]:
    """Labels that mean the positive class: the one that the spec names, or what usually does."""
    named = spec.prediction.positive_class if spec.prediction is not None else None
    return POSITIVE if named is None else frozenset({named})


def positives(spec: ModelSpec, labels: Sequence[str | None]) -> Floats:
    """Return 1 where a label means the positive class, 0 where it means another, NaN where there is none: (n,)."""
    named = positive_classes(spec)
    return np.array([np.nan if _unknown(label) else float(label in named) for label in labels], dtype=np.float64)


def flags(column: Sequence[str | None]) -> Floats:
    """Return 1 where a boolean column is true, 0 where it is false, NaN elsewhere: (n,)."""
    return np.array([1.0 if each == TRUE else 0.0 if each == FALSE else np.nan for each in column], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Pairs:
    """n predictions and what came true, as the losses read them."""

    spec: ModelSpec
    labels: Sequence[str | None] = ()
    wrong: Sequence[str | None] = ()
    """As ``errors`` tells."""
    scores: Floats | None = None
    errors: Floats | None = None
    """Of a regression: label less prediction."""

    def conditional(self, *, on_label: bool) -> list[str | None]:
        """Return the errors of rows whose label is positive, or for which it was predicted; None elsewhere."""
        named = positive_classes(self.spec)
        return [
            # Of two classes, the label's was predicted exactly where the model was right.
            wrong if wrong is not None and ((label in named) == (on_label or wrong == FALSE)) else None
            for label, wrong in zip(self.labels, self.wrong, strict=True)
        ]

    def probability(self) -> tuple[Floats, Floats] | None:
        """Return scores and labels as 0 and 1, NaN where one is unknown; None without scores."""
        if self.scores is None:
            return None
        return np.where(np.isfinite(self.scores), np.clip(self.scores, 0.0, 1.0), np.nan), positives(
            self.spec, self.labels
        )


def _log_loss(pairs: Pairs) -> Column | None:
    found = pairs.probability()
    return None if found is None else log_losses(*found)


def _brier(pairs: Pairs) -> Column | None:
    found = pairs.probability()
    return None if found is None else (found[0] - found[1]) ** 2


def log_losses(scores: Floats, positive: Floats) -> Floats:
    """Return minus the log of the probability given to what came true, nats; NaN where something is unknown."""
    given = np.where(np.isnan(positive), np.nan, np.where(positive == 1.0, scores, 1.0 - scores))
    return np.asarray(-np.log(np.maximum(given, LEAST_PROBABILITY)))


def pinball_losses(errors_: Floats, quantile: float) -> Floats:
    """Return ``max(q e, (q - 1) e)`` of errors e, label less prediction."""
    return np.maximum(quantile * errors_, (quantile - 1.0) * errors_)


def _pinball(pairs: Pairs) -> Column | None:
    if pairs.errors is None or pairs.spec.outcomes is None:
        return None
    return pinball_losses(pairs.errors, pairs.spec.outcomes.quantile)


def _unknown(value: str | None) -> bool:
    return value is None or value == INVALID


LOSSES: Final[Mapping[Loss, Callable[[Pairs], Column | None]]] = {
    Loss.ERROR: lambda pairs: list(pairs.wrong),
    Loss.FALSE_DISCOVERY: lambda pairs: pairs.conditional(on_label=False),
    Loss.MISS: lambda pairs: pairs.conditional(on_label=True),
    Loss.LOG_LOSS: _log_loss,
    Loss.BRIER: _brier,
    Loss.ABSOLUTE_ERROR: lambda pairs: None if pairs.errors is None else np.abs(pairs.errors),
    Loss.SQUARED_ERROR: lambda pairs: None if pairs.errors is None else pairs.errors**2,
    Loss.PINBALL: _pinball,
}
"""How each loss is made of the pairs."""
