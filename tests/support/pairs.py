"""Predictions with their labels, as rows, and specs whose reference they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detector.layout import Layout
from detector.outcomes import outcome_columns
from detector.profile import Vector
from detector.reference import freeze
from detector.rows import STAGES, Column, Rows, Source
from schemas.model_spec import ModelSpec, Stage, Task
from schemas.performance import OutcomeSpec
from tests.support.data import MONDAY, numbers, spec_of

Floats = NDArray[np.float64]


def scored(**outcomes: Any) -> ModelSpec:
    """A binary model with one feature and a score."""
    return spec_of(*numbers("x"), prediction={"output": "score"}, outcomes=OutcomeSpec(**outcomes))


def regression(**outcomes: Any) -> ModelSpec:
    """A regression with one feature."""
    return spec_of(*numbers("x"), task="regression", prediction={"output": "number"}, outcomes=OutcomeSpec(**outcomes))


def classified(task: Task = Task.MULTICLASS, **outcomes: Any) -> ModelSpec:
    """A model with one feature that answers with a class."""
    return spec_of(*numbers("x"), task=task, prediction={"output": "class"}, outcomes=OutcomeSpec(**outcomes))


def pair_rows(
    spec: ModelSpec,
    features: Mapping[str, Sequence[Any] | Floats],
    prediction: Sequence[Any] | Floats,
    label: Sequence[Any] | Floats,
    *,
    predicted: Sequence[str] | None = None,
    times: Floats | None = None,
) -> list[Rows]:
    """The rows as predictions, and as outcomes that know them.

    Parameters
    ----------
    prediction
        The watched part: scores, classes or numbers.
    predicted
        Classes that come beside scores.
    """
    n = len(label)
    is_number = spec.task is Task.REGRESSION
    scores = cast(Floats, prediction) if spec.prediction is not None and spec.prediction.output == "score" else None
    answers = predicted if scores is not None else prediction
    of_label = outcome_columns(
        spec, _column(label, number=is_number), None if answers is None else _column(answers, number=is_number), scores
    )
    own = (*(_column(features[each.name], number=True) for each in spec.features),
           _column(prediction, number=is_number or scores is not None))  # fmt: skip
    nothing: tuple[Column | None, ...] = tuple(None for _ in of_label)
    at = np.arange(n), np.full(n, MONDAY) if times is None else times
    stages = np.full(n, STAGES.index(Stage.PRODUCTION), dtype=np.int8)
    return [
        Rows(Source.PREDICTIONS, *at, stages, (*own, *nothing)),
        Rows(Source.OUTCOMES, *at, stages, (*(None for _ in own), *of_label), (*own, *nothing)),
    ]


def _column(values: Sequence[Any] | Floats, *, number: bool) -> Column:
    return np.array(values, dtype=np.float64) if number else [None if v is None else str(v) for v in values]


def frozen_pairs(spec: ModelSpec, *args: Any, **kwargs: Any) -> ModelSpec:
    """The spec with a reference of these rows (as `pair_rows` takes them)."""
    return freeze(spec, pair_rows(spec, *args, **kwargs), origin="test")


def counted(layout: Layout, rows: Sequence[Rows]) -> Vector:
    """All rows in one vector."""
    return np.asarray(sum(vector for each in rows for vector in layout.count(each).parts.values()))


def logistic(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    return np.asarray(1 / (1 + np.exp(-x)))


def drawn(p: Floats, rng: np.random.Generator) -> list[str]:
    """Labels that are 1 with these probabilities."""
    return ["1" if each else "0" for each in rng.random(len(p)) < p]
