"""The model, its events and their bytes that the measurements of speed and memory use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, Final

import numpy as np

from detector.reference import freeze
from detector.rows import Rows, Source
from schemas.model_spec import (
    FeatureSpec,
    FeatureType,
    ModelSpec,
    OutcomeSpec,
    Output,
    PredictionSpec,
    ReferenceSpec,
    Task,
)
from schemas.quality import QualitySpec, ServiceSpec
from schemas.rules import RuleSpec
from schemas.segments import SegmentSpec

VERSION: Final = "1"
EVENT_BYTES: Final = 650
VALIDATION: Final[dict[str, Any]] = {"quality": QualitySpec(), "service": ServiceSpec()}
"""Fields of a spec with everything that validation offers."""
REFERENCE_ROWS: Final = 2_000
SEGMENT_VALUES: Final = 12
"""Values of a field, each half as frequent again as the next: ten of them are segments."""
VARIANTS: Final = 500
"""Different events of a model; they are repeated, each time with a time of its own."""

_TIME: Final = "@TIME@"
_TIME_BYTES: Final = len("2024-05-01T12:00:00.000000Z")
_ID: Final = "@ID@"


@dataclass(frozen=True)
class Shape:
    """What the models of a measurement are like."""

    features: int = 20
    models: int = 1
    rows_per_event: int = 1
    event_bytes: int = EVENT_BYTES
    segments: int = 0
    """Fields by which rows are broken down, of `SEGMENT_VALUES` values each."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of these fields."""
        return tuple(f"field_{index}" for index in range(self.segments))


def model_name(index: int) -> str:
    """Name of a model."""
    return f"credit-risk-{index:04d}"


def feature_names(shape: Shape) -> list[str]:
    """Names of a model's features."""
    return [f"feature_{index:03d}" for index in range(shape.features)]


def specs(shape: Shape) -> list[ModelSpec]:
    """Specs of all models, with a reference of normally distributed rows."""
    return [_spec(shape, index) for index in range(shape.models)]


def validated_specs(shape: Shape) -> list[ModelSpec]:
    """Specs of the same models with everything that validation offers."""
    return [_spec(shape, index, **VALIDATION, rules=rules_of(shape)) for index in range(shape.models)]


def rules_of(shape: Shape) -> tuple[RuleSpec, ...]:
    """Five rules over features and the score, as people write them; hardly a row breaks one."""
    names = feature_names(shape)
    a, b, c, d, e = (names[i % len(names)] for i in range(5))
    written = (
        f"{a} <= 5 * abs({b}) + 20",
        f"{c} > -20 or {d} is missing",
        f"{d} between -20 and 20 and {e} is not missing",
        f"max({a}, {b}, {c}) / (1 + abs({d})) < 50",
        f"score >= 0 and (time.hour >= 0 or {e} > 0)",
    )
    return tuple(RuleSpec(name=f"rule-{i}", expression=each) for i, each in enumerate(written))


def _spec(shape: Shape, index: int, **fields: Any) -> ModelSpec:
    features = tuple(FeatureSpec(name=name, type=FeatureType.NUMBER) for name in feature_names(shape))
    spec = ModelSpec(
        model=model_name(index),
        version=VERSION,
        task=Task.BINARY,
        features=features,
        prediction=PredictionSpec(output=Output.SCORE),
        segments=SegmentSpec(fields=shape.fields) if shape.segments else None,
        **fields,
    )
    rng = np.random.default_rng([7, index])
    columns = [*_features(rng, REFERENCE_ROWS, shape.features, 0.0).T, rng.random(REFERENCE_ROWS)]
    values = [_segments(rng, REFERENCE_ROWS) for _ in shape.fields]
    rows = Rows(
        Source.PREDICTIONS,
        np.arange(REFERENCE_ROWS),
        np.full(REFERENCE_ROWS, 1.7e9),
        np.zeros(REFERENCE_ROWS, dtype=np.int8),
        (*(np.ascontiguousarray(column) for column in columns), *values),
    )
    return freeze(spec, rows, origin="bench")


def labelled_specs(shape: Shape) -> list[ModelSpec]:
    """Specs of the same models whose labels are read: what came true has nothing to do with the score."""
    made: list[ModelSpec] = []
    for index, spec in enumerate(specs(shape)):
        rng = np.random.default_rng([13, index])
        bare = spec.model_copy(update={"outcomes": OutcomeSpec(), "reference": ReferenceSpec()})
        features = _features(rng, REFERENCE_ROWS, shape.features, 0.0).T
        labels: list[str | None] = [str(each) for each in rng.integers(0, 2, REFERENCE_ROWS)]
        errors: list[str | None] = [("false", "true")[each] for each in rng.integers(0, 2, REFERENCE_ROWS)]
        rows = Rows(
            Source.PREDICTIONS,
            np.arange(REFERENCE_ROWS),
            np.full(REFERENCE_ROWS, 1.7e9),
            np.zeros(REFERENCE_ROWS, dtype=np.int8),
            (*(np.ascontiguousarray(column) for column in features), rng.random(REFERENCE_ROWS), labels, errors),
        )
        made.append(freeze(bare, rows, origin="bench"))
    return made


def _features(rng: np.random.Generator, rows: int, features: int, shift: float) -> np.ndarray[Any, Any]:
    values = rng.normal(size=(rows, features))
    values[:, 0] += shift
    return values.round(6)


def _segments(rng: np.random.Generator, rows: int) -> list[str | None]:
    weights = 1.5 ** -np.arange(SEGMENT_VALUES)
    return [f"value {each}" for each in rng.choice(SEGMENT_VALUES, size=rows, p=weights / weights.sum()).tolist()]


class EventSource:
    """Endless events of a model.

    Parameters
    ----------
    shape
        What they are like.
    model
        Index of the model.
    shift
        By how many standard deviations its first feature has moved.
    """

    def __init__(self, shape: Shape, model: int = 0, shift: float = 0.0) -> None:
        self._variants = cycle(list(_variants(shape, model, shift)))

    def at(self, time: float) -> Iterator[bytes]:
        """Make events of one time (seconds since 1970), without end."""
        written = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z").encode()
        for head, tail in self._variants:
            yield head + written + tail


def _variants(shape: Shape, model: int, shift: float) -> Iterator[tuple[bytes, bytes]]:
    rng = np.random.default_rng([11, model])
    names, rows = feature_names(shape), shape.rows_per_event
    for number in range(VARIANTS if rows == 1 else max(20, VARIANTS // rows)):
        values = _features(rng, rows, shape.features, shift)
        scores = rng.random(rows).round(6).tolist()
        event: dict[str, Any] = {"model": model_name(model), "version": VERSION, "time": _TIME, "stage": "production"}
        if shape.segments:
            columns = {name: _segments(rng, rows) for name in shape.fields}
            event["segments"] = {name: each[0] if rows == 1 else each for name, each in columns.items()}
        if rows == 1:
            event |= {"prediction_id": _ID, "features": dict(zip(names, values[0].tolist(), strict=True))}
            event |= {"score": scores[0]}
        else:
            event |= {"rows": rows, "features": dict(zip(names, values.T.tolist(), strict=True)), "score": scores}
        text = json.dumps(event, separators=(",", ":"))
        length = shape.event_bytes - (len(text) - len(_ID) - len(_TIME) + _TIME_BYTES)
        head, tail = text.replace(_ID, str(number).zfill(max(8, length))).split(_TIME)
        yield head.encode(), tail.encode()
