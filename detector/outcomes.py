"""What a label says of a prediction: the columns of an outcome row.

An outcome row carries the label, under the signal ``label``, and the loss, under ``performance:<loss>``:

==================  =====================================================================================
loss                of a row
==================  =====================================================================================
``error``           ``true`` where the class that was predicted is not the label. Where events carry a
                    score and no class, the positive class is predicted from ``outcomes.threshold`` on
``absolute_error``  ``|prediction - label|``
==================  =====================================================================================

The loss is missing where there is no prediction to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.rows import FALSE, INVALID, TRUE, Column
from schemas.model_spec import Loss, ModelSpec

Floats = NDArray[np.float64]

POSITIVE: Final = frozenset({"1", TRUE, "True", "yes"})
"""Labels that mean the positive class where the spec names none."""


def outcome_columns(
    spec: ModelSpec, labels: Column, predicted: Column | None, scores: Floats | None = None
) -> list[Column | None]:
    """Make the columns of the signals that depend on labels, in the order of ``spec.signals``.

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
    if spec.loss is None:
        return [labels]
    if spec.loss is Loss.ABSOLUTE_ERROR:
        nothing = predicted is None
        return [labels, None if nothing else np.abs(cast(Floats, predicted) - cast(Floats, labels))]
    if predicted is not None:
        return [labels, errors(cast(Sequence[str | None], labels), cast(Sequence[str | None], predicted))]
    if scores is None:
        return [labels, None]
    return [labels, score_errors(spec, cast(Sequence[str | None], labels), scores)]


def errors(labels: Sequence[str | None], predicted: Sequence[str | None]) -> list[str | None]:
    """Tell where another class came true than was predicted; None where one of them is missing or invalid."""
    return [
        None if _unknown(label) or _unknown(answer) else FALSE if label == answer else TRUE
        for label, answer in zip(labels, predicted, strict=True)
    ]


def score_errors(spec: ModelSpec, labels: Sequence[str | None], scores: Floats) -> list[str | None]:
    """Do the same for scores: the positive class is predicted from the spec's threshold on."""
    threshold = spec.outcomes.threshold if spec.outcomes is not None else 0.5
    positive = spec.prediction.positive_class if spec.prediction is not None else None
    named = POSITIVE if positive is None else frozenset({positive})
    predicted = (scores >= threshold).tolist()
    readable = np.isfinite(scores).tolist()
    return [
        None if _unknown(label) or not known else FALSE if (label in named) == answer else TRUE
        for label, answer, known in zip(labels, predicted, readable, strict=True)
    ]


def _unknown(value: str | None) -> bool:
    return value is None or value == INVALID
