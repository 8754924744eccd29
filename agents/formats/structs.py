"""Decoders made for one model spec: msgspec structs whose fields are the spec's features, typed.

A field that the spec does not read is skipped without being looked at. What does not fit the types is not lost: it is
read again by ``agents.formats.lenient``.

msgspec finds the field of a key by searching on from the field of the key before. With 20 features in another order
than the producer's, decoding takes twice as long, with 500 it takes 25 times as long. So the fields are put in the
order in which the producer writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Annotated, Any, Final, Literal

import msgspec

from agents.formats.answers import Answer
from agents.formats.lenient import feature_keys
from detector.constraints import Constraints
from detector.rows import Source, carried, signal_types
from detector.segments.values import event_fields
from schemas.model_spec import FeatureType, ModelSpec, Output, Stage

LOOK_AGAIN_AFTER: Final = 64
"""Runs between two looks at the order of the keys."""

_STAGE: Final = Literal["production", "shadow", "canary"]
_TYPES: Final[dict[FeatureType, Any]] = {
    FeatureType.NUMBER: float | None,
    FeatureType.CATEGORY: str | int | float | bool | None,
    FeatureType.BOOLEAN: bool | float | None,
}
_PREDICTION_TYPES: Final[dict[Output | None, Any]] = {
    Output.CLASS: _TYPES[FeatureType.CATEGORY],
    Output.NUMBER: _TYPES[FeatureType.NUMBER],
}
_UNNAMEABLE: Final = frozenset('"\\' + "".join(map(chr, range(32))))
"""msgspec takes no such characters in the name of a field."""


@dataclass(frozen=True, slots=True)
class Order:
    """How the features of a spec stand in the structs of its events, as fields ``f0``, ``f1``, ..."""

    names: tuple[str, ...]
    """By position in the struct."""
    of_features: tuple[int, ...]
    """Position of each of the spec's features."""
    attributes: tuple[str, ...]
    """Field of each of the spec's features."""
    numbers: tuple[int, ...]
    """Positions that hold numbers, ascending."""

    @classmethod
    def of(cls, names: tuple[str, ...], features: tuple[str, ...], types: tuple[FeatureType, ...]) -> Order:
        """Derive it from the names in the order of the struct and in that of the spec."""
        position = {name: place for place, name in enumerate(names)}
        of_features = tuple(position[name] for name in features)
        numbers = [place for place, kind in zip(of_features, types, strict=False) if kind is FeatureType.NUMBER]
        return cls(names, of_features, tuple(f"f{place}" for place in of_features), tuple(sorted(numbers)))


class SpecDecoder:
    """Decodes events of one model version from one stream.

    Parameters
    ----------
    spec
        The model version.
    source
        The stream: it decides which signals are read.

    Attributes
    ----------
    row, batch
        Decode an event of one row and of many; they raise what msgspec raises if the event does not fit exactly.
    order
        Of the features in these events.
    segments
        Fields of ``segments`` that are read: values of features are no part of it.
    constraints
        What their values must be beyond their types.
    """

    row: Callable[[bytes], Any]
    batch: Callable[[bytes], Any]
    order: Order

    def __init__(self, spec: ModelSpec, source: Source) -> None:
        self.spec = spec
        self.source = source
        self.types = signal_types(spec)
        self.carried = carried(spec, source)
        self.answer_type = self.types[len(spec.features)] if spec.prediction is not None else FeatureType.NUMBER
        self.answer = Answer.of(spec, source)
        self.features = tuple(feature.name for feature in spec.features) if self.reads_features else ()
        self.segments = event_fields(spec) if self.reads_rows else ()
        self.is_typed = not any(_UNNAMEABLE.intersection(name) for name in (*self.features, *self.segments))
        self.constraints = Constraints(spec)
        self._runs_until_look = 0
        self._build(self.features)

    @property
    def reads_features(self) -> bool:
        """Whether this stream carries the model's features; an outcome that brings its prediction may bring them."""
        return bool(self.spec.features) and (self.carried[0] or self.source is Source.OUTCOMES)

    @property
    def reads_rows(self) -> bool:
        """Whether this stream carries signals of the model at all, so that it matters in which segments rows are."""
        return self.source is Source.OUTCOMES or any(self.carried)

    @property
    def watches_shapes(self) -> bool:
        """Whether this is the stream on which the features are judged."""
        return bool(self.spec.features) and self.carried[0]

    @property
    def reads_answers(self) -> bool:
        """Whether this stream carries predictions."""
        return self.source is not Source.FEATURES

    @property
    def reads_service(self) -> bool:
        """Whether it is watched how the service answered."""
        return self.source is Source.PREDICTIONS and self.spec.service is not None

    @property
    def forwards(self) -> bool:
        """Whether these events are predictions whose labels will come."""
        return self.source is Source.PREDICTIONS and self.spec.outcomes is not None

    def look_at(self, value: bytes) -> None:
        """Follow the order in which the producer writes its keys, once in a while.

        Events that were decoded before must not be read any more: their features stand in the order of then.
        """
        self._runs_until_look -= 1
        if self._runs_until_look >= 0 or len(self.features) < 2:
            return
        seen = feature_keys(value, self.spec.model)
        if seen:
            self._runs_until_look = LOOK_AGAIN_AFTER
            known = set(self.features)
            order = tuple(dict.fromkeys([*(key for key in seen if key in known), *self.features]))
            if order != self.order.names:
                self._build(order)

    def _build(self, order: tuple[str, ...]) -> None:
        self.order = Order.of(tuple(order), self.features, self.types)
        self.row = self.batch = _refuse
        if self.is_typed:
            self.row = msgspec.json.Decoder(self._event(self._features(many=False), many=False)).decode
            self.batch = msgspec.json.Decoder(self._event(self._features(many=True), many=True)).decode

    def _event(self, features: type[msgspec.Struct], *, many: bool) -> type[msgspec.Struct]:
        fields: list[Any] = [
            ("model", Literal[self.spec.model]),
            ("version", Literal[self.spec.version]),
            ("rows", Annotated[int, msgspec.Meta(ge=1)]) if many else ("rows", None, None),
            ("time", str | float | list[str | float | None] | None if many else str | float | None, None),
            ("stage", _STAGE, Stage.PRODUCTION.value),
            ("specversion", None, None),
        ]
        if self.reads_answers:
            fields += self._answers(many=many)
        if self.source is Source.PREDICTIONS:
            fields.append(("status", Any, None))
        if self.reads_service:
            fields.append(("latency_ms", Any, None))
        if self.forwards:
            fields.append(("prediction_id", Any, None))
        if self.source is Source.OUTCOMES:
            time: Any = str | float | list[str | float | None] | None if many else str | float | None
            fields += [("label", list[Any] if many else Any), ("prediction_time", time, None)]
        if self.reads_features:
            default = () if self.source is Source.FEATURES else (msgspec.field(default_factory=features),)
            fields.append(("features", features, *default))
        if self.segments:
            fields.append(("segments", self._segments(many=many) | None, None))
        fields.sort(key=len)  # required ones come first
        return msgspec.defstruct("Batch" if many else "Row", fields, gc=False)

    def _answers(self, *, many: bool) -> list[Any]:
        output = self.answer.output if self.answer is not None else None
        score: Any = _TYPES[FeatureType.NUMBER] if output is Output.SCORE else Any
        prediction: Any = _PREDICTION_TYPES.get(output, Any)
        probability: Any = list[float] if many else float
        probabilities: Any = dict[str, probability] if output in (Output.SCORE, Output.CLASS) else Any
        if many:
            score, prediction = list[score], list[prediction]
        return [
            ("score", score | None, None),
            ("prediction", prediction | None, None),
            ("probabilities", probabilities | None, None),
        ]

    def _features(self, *, many: bool) -> type[msgspec.Struct]:
        types = dict(zip(self.features, self.types, strict=False))
        fields: list[tuple[str, Any, Any]] = []
        for position, name in enumerate(self.order.names):
            missing = nan if types[name] is FeatureType.NUMBER and not many else None
            kind: Any = _TYPES[types[name]]
            fields.append((f"f{position}", list[kind] | None if many else kind, missing))
        names = {f"f{position}": name for position, name in enumerate(self.order.names)}
        return msgspec.defstruct("Features", fields, rename=names, gc=False)

    def _segments(self, *, many: bool) -> Any:
        kind: Any = _TYPES[FeatureType.CATEGORY]
        fields: list[tuple[str, Any, Any]] = [
            (segment_attribute(place), list[kind] | None if many else kind, None) for place in range(len(self.segments))
        ]
        names = {segment_attribute(place): name for place, name in enumerate(self.segments)}
        return msgspec.defstruct("Segments", fields, rename=names, gc=False)


def segment_attribute(place: int) -> str:
    """Name the attribute that holds the value of one of a decoder's ``segments``."""
    return f"s{place}"


def _refuse(value: bytes) -> Any:
    raise msgspec.ValidationError("a feature has a name that no struct can have")
