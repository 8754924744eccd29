"""Labels and the predictions that they belong to, to the columns of outcome rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agents.formats.columns import CONVERTERS
from detector.outcomes import outcome_columns
from detector.rows import Column
from schemas.model_spec import FeatureType, ModelSpec, Output, Task


def label_columns(
    spec: ModelSpec, labels: Sequence[Any], watched: Column | None, classes: Sequence[str | None] | None
) -> list[Column | None]:
    """Make the columns of the signals that depend on labels.

    What a row counts for depends on that row alone: where some events of a model carry a class beside the score and
    others do not, each is taken by what it has.

    Parameters
    ----------
    labels
        (n,) as they came.
    watched
        (n,) the watched part of the predictions; None where the spec watches none.
    classes
        (n,) classes that were predicted, where the score is watched; None: no event has one.

    Returns
    -------
    list
        Of ``detector.outcomes.outcome_columns``.
    """
    kind = FeatureType.NUMBER if spec.task is Task.REGRESSION else FeatureType.CATEGORY
    column = CONVERTERS[kind](labels)
    if spec.prediction is None or watched is None:
        return outcome_columns(spec, column, None)
    if spec.prediction.output is not Output.SCORE:
        return outcome_columns(spec, column, watched)
    scores = cast(NDArray[np.float64], watched)
    if classes is None or all(each is None for each in classes):
        return outcome_columns(spec, column, None, scores)
    named = np.array([each is not None for each in classes])
    if named.all():
        return outcome_columns(spec, column, list(classes), scores)
    return _merged(
        named,
        outcome_columns(spec, _only(column, named), _only(list(classes), named), scores[named]),
        outcome_columns(spec, _only(column, ~named), None, scores[~named]),
    )


def _only(column: Column, keep: NDArray[np.bool_]) -> Column:
    if isinstance(column, np.ndarray):
        return column[keep]
    return [column[row] for row in np.flatnonzero(keep).tolist()]


def _merged(
    where: NDArray[np.bool_], inside: Sequence[Column | None], outside: Sequence[Column | None]
) -> list[Column | None]:
    """Put columns of the rows inside and outside ``where`` together again."""
    order = np.argsort(np.concatenate([np.flatnonzero(where), np.flatnonzero(~where)]))
    merged: list[Column | None] = []
    for one, other in zip(inside, outside, strict=True):
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            merged.append(np.concatenate([one, other])[order])
        elif isinstance(one, list) and isinstance(other, list):
            both = [*one, *other]
            merged.append([both[row] for row in order.tolist()])
        else:
            merged.append(None)
    return merged
