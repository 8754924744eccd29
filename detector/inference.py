"""A model spec guessed from values: the draft that ``driftline models init`` writes and auto registration publishes.

Types follow the values, not the names. Truth values are booleans; numbers are numbers however few distinct ones there
are, since bins give each its own; text is a category, even ``"007"``, unless the source has no types of its own (CSV).
Left out, with a note that says so: columns without a value, of lists or objects, of times, text that is different in
nearly every row (an id), and whole numbers that only ever rise (a row number). Policy is not guessed: it has defaults.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, auto
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.bins import MAX_KNOWN
from detector.rows import FALSE, TRUE
from schemas.model_spec import ColumnNames, FeatureSpec, FeatureType, ModelSpec, Output, PredictionSpec, Task

Values = Sequence[Any] | NDArray[Any]

FEW_ROWS: Final = 20
"""With fewer values, text that never repeats and whole numbers that rise say nothing yet."""
ID_SHARE: Final = 0.9
"""Text with more distinct values than this share of the rows is taken for an id."""
ENOUGH_ROWS: Final = 100
"""From so many answers on, whole numbers with few distinct values are taken for classes."""
MAX_CLASSES: Final = 20
_SAMPLE: Final = 200
"""Texts looked at to tell whether they are times."""


class _Kind(Enum):
    """What one value is."""

    MISSING = auto()
    BOOLEAN = auto()
    NUMBER = auto()
    TEXT = auto()
    TIME = auto()
    OTHER = auto()


_TYPES: Final = {
    _Kind.BOOLEAN: FeatureType.BOOLEAN,
    _Kind.NUMBER: FeatureType.NUMBER,
    _Kind.TEXT: FeatureType.CATEGORY,
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answered: one entry for each row, as far as there are any."""

    prediction: Values | None = None
    score: Values | None = None
    probabilities: Sequence[Mapping[str, float] | None] | None = None


def infer_spec(
    columns: Mapping[str, Values],
    model: str,
    version: str,
    *,
    answers: Answers | None = None,
    task: Task | None = None,
    names: ColumnNames | None = None,
    typed: bool = True,
    **settings: Any,
) -> tuple[ModelSpec, tuple[str, ...]]:
    """Draft a spec without a reference.

    Parameters
    ----------
    columns
        Values by name, in the order in which features shall stand. None and NaN are missing.
    answers
        What the model answered, where that came beside the features, as in events: then every column is a feature.
        None: the columns are a file's, and ``names`` tells which of them are answers, labels, times and ids.
    task
        None: guessed from the answers, or the labels where there are none.
    names
        None: the default names.
    typed
        Whether text is meant as text (JSON, parquet). False: text that is all numbers or all truth values is read so.
    settings
        Further fields of the spec, such as ``owner`` or ``seasonality``.

    Returns
    -------
    spec, notes
        Notes are sentences for people: what was left out or assumed, and why.

    Raises
    ------
    ValueError
        If nothing is left to watch.
    """
    names = names or ColumnNames()
    labels: Values | None = None
    if answers is None:
        answers = Answers(columns.get(names.prediction), columns.get(names.score))
        labels = columns.get(names.label)
        roles = set(names.model_dump().values())
        columns = {name: values for name, values in columns.items() if name not in roles}
    notes: list[str] = []
    features = []
    for name, values in columns.items():
        kind, note = _feature_type(name, values, typed=typed)
        if kind is not None:
            features.append(FeatureSpec(name=name, type=kind))
        if note is not None:
            notes.append(note)
    guessed, prediction = _prediction(answers, task, labels, notes)
    spec = ModelSpec(
        model=model,
        version=version,
        task=guessed,
        features=tuple(features),
        prediction=prediction,
        columns=names,
        **settings,
    )
    return spec, tuple(notes)


# ---------------------------------------------------------------------------------------------------- features


def _feature_type(name: str, values: Values, *, typed: bool) -> tuple[FeatureType | None, str | None]:
    """Type of a feature, None where it is left out, and a note where there is something to say."""
    if not name or len(name) > 500:
        return None, f"left out a column whose name has {len(name)} characters"
    found = _present(values)
    if not found:
        return None, f"left out {name!r}: it has no value"
    kinds = Counter(map(_kind, found))
    kind, count = kinds.most_common(1)[0]
    if kind is _Kind.TEXT and not typed:
        kind = _read(found)
    if kind is _Kind.OTHER:
        return None, f"left out {name!r}: lists and objects cannot be binned"
    if kind is _Kind.TIME or (kind is _Kind.TEXT and _are_times(found)):
        return None, f"left out {name!r}: it is a time (map it under `columns` if it is the rows' own)"
    if kind is _Kind.TEXT:
        distinct = len(set(map(str, found)))
        if len(found) >= FEW_ROWS and distinct > ID_SHARE * len(found):
            return None, f"left out {name!r}: {distinct} different texts in {len(found)} rows look like an id"
        if distinct > MAX_KNOWN:
            return (
                FeatureType.CATEGORY,
                f"{name!r} has {distinct} different values: only the most frequent are told apart",
            )
    if kind is _Kind.NUMBER and _is_row_number(found):
        return None, f"left out {name!r}: whole numbers that rise from row to row look like an id or a time"
    note = (
        None if count == len(found) else f"{name!r}: {len(found) - count} of {len(found)} values are not {_TYPES[kind]}"
    )
    return _TYPES[kind], note


def _present(values: Values) -> list[Any]:
    """Values that are not missing, as Python has them."""
    if isinstance(values, np.ndarray):
        # In nanoseconds, a time would become a bare integer.
        values = (values.astype("datetime64[us]") if values.dtype.kind == "M" else values).tolist()
    return [value for value in values if not _is_missing(value)]


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _kind(value: object) -> _Kind:
    if isinstance(value, bool | np.bool_):
        return _Kind.BOOLEAN
    if isinstance(value, int | float | np.number):
        return _Kind.NUMBER
    if isinstance(value, str):
        return _Kind.TEXT
    return _Kind.TIME if isinstance(value, date | datetime) else _Kind.OTHER


def _read(texts: Iterable[object]) -> _Kind:
    """What text stands for in a source without types."""
    distinct = {text.strip() for text in texts if isinstance(text, str)}
    if {text.lower() for text in distinct} <= {TRUE, FALSE}:
        return _Kind.BOOLEAN
    return _Kind.NUMBER if all(map(_is_number, distinct)) else _Kind.TEXT


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _are_times(texts: Sequence[object]) -> bool:
    """Whether all of a sample are ISO 8601 dates or times; a bare number such as 20240131 is none."""
    try:
        for text in texts[:_SAMPLE]:
            if not isinstance(text, str) or text.isdigit():
                return False
            datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_row_number(values: Sequence[Any]) -> bool:
    if len(values) < FEW_ROWS or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return False
    return all(before < after for before, after in pairwise(values))


# -------------------------------------------------------------------------------------------------- prediction


def _prediction(
    answers: Answers, task: Task | None, labels: Values | None, notes: list[str]
) -> tuple[Task, PredictionSpec | None]:
    """The task, and which part of the answers is watched."""
    predictions = _present(answers.prediction) if answers.prediction is not None else []
    scores = _present(answers.score) if answers.score is not None else []
    classes = {name for each in answers.probabilities or () if each for name in each}
    if task is None:
        task = _task(predictions or (_present(labels) if labels is not None else []), scores, classes, notes)
    if not (predictions or scores or classes):
        notes.append("no predictions were found: only features are watched")
        return task, None
    if task is Task.REGRESSION:
        return task, PredictionSpec(output=Output.NUMBER)
    if scores or (task is Task.BINARY and len(classes) == 2):
        return task, PredictionSpec(output=Output.SCORE)
    return task, PredictionSpec(output=Output.CLASS)


def _task(outcomes: Sequence[Any], scores: Sequence[Any], classes: set[str], notes: list[str]) -> Task:
    """Guess the task from the classes or numbers that were answered, or from labels."""
    if len(classes) > 2:
        return Task.MULTICLASS
    distinct = set(map(str, outcomes))
    if scores or classes:
        return Task.MULTICLASS if len(distinct) > 2 and not _are_fractions(outcomes) else Task.BINARY
    if not outcomes:
        notes.append("assumed a binary task: neither predictions nor labels tell it")
        return Task.BINARY
    if any(_kind(value) is not _Kind.NUMBER for value in outcomes):
        return Task.BINARY if len(distinct) <= 2 else Task.MULTICLASS
    whole = not _are_fractions(outcomes)
    if whole and {float(value) for value in outcomes} <= {0.0, 1.0}:
        return Task.BINARY
    if whole and len(outcomes) >= ENOUGH_ROWS and len(distinct) <= MAX_CLASSES:
        return Task.BINARY if len(distinct) <= 2 else Task.MULTICLASS
    if not whole and all(0 <= value <= 1 for value in outcomes):
        notes.append("assumed a regression: if the predictions are probabilities, name their column as the score")
    return Task.REGRESSION


def _are_fractions(values: Sequence[Any]) -> bool:
    return any(_kind(value) is _Kind.NUMBER and not float(value).is_integer() for value in values)
