"""What sampled records have otherwise than the spec says: tallied with the running total, and as exact.

The hot path reads the features of the spec and skips all else, so it cannot know a feature that is new, nor tell one
that is gone from one that is null. So one record in 16, drawn by a hash of where it stands, is read in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detector.sampling import row_hashes, salt_of
from schemas.model_spec import FeatureType, ModelSpec
from schemas.schema_changes import FieldTally, JsonKind, ShapeTally

ONE_IN: Final = 16
MOST_UNKNOWN: Final = 64
"""Features that the spec does not know are told apart up to so many, those that came first."""
MOST_VALUES: Final = 64
"""Kept of each of them."""
MOST_OF_RECORD: Final = 8
"""Values taken of one record's column."""
LONGEST_TEXT: Final = 256
LONGEST_NAME: Final = 500

FITTING: Final = {
    FeatureType.NUMBER: frozenset({JsonKind.NUMBER}),
    FeatureType.CATEGORY: frozenset({JsonKind.TEXT, JsonKind.NUMBER, JsonKind.BOOLEAN}),
    FeatureType.BOOLEAN: frozenset({JsonKind.BOOLEAN, JsonKind.NUMBER}),
}
"""Kinds of values that a feature's type takes; null is missing and fits everywhere."""

_KINDS: Final = {bool: JsonKind.BOOLEAN, int: JsonKind.NUMBER, float: JsonKind.NUMBER, str: JsonKind.TEXT}

Value = float | bool | str | None


@dataclass(frozen=True, slots=True)
class Shape:
    """The features of one record: their names, and for each its value, or the first of its column."""

    offset: int
    fields: Mapping[str, Sequence[Any]]


def sampled(topic: str, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which records are read in full, (n,): by where they stand alone; offsets ascend."""
    return np.asarray(row_hashes(salt_of(topic, partition), offsets) % np.uint64(ONE_IN) == 0)


def kind_of(values: Sequence[Any]) -> JsonKind:
    """What the values of a record are: the kind of the first that is not null."""
    value = next((each for each in values if each is not None), None)
    return JsonKind.NULL if value is None else _KINDS.get(type(value), JsonKind.OTHER)


@dataclass(slots=True)
class _Tally:
    absent: int = 0
    kinds: dict[JsonKind, int] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)


class Shapes:
    """Tallies the shapes of one model version's records in one source partition.

    Parameters
    ----------
    spec
        What is expected.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._fitting = {feature.name: FITTING[feature.type] for feature in spec.features}
        self._tallies: dict[str, _Tally] = {}
        self._unknown = 0
        self.records = 0

    def add(self, shape: Shape) -> None:
        """Tally a record."""
        self.records += 1
        for name in self._fitting.keys() - shape.fields.keys():
            self._tallies.setdefault(name, _Tally()).absent += 1
        for name, values in shape.fields.items():
            kind = kind_of(values)
            fitting = self._fitting.get(name)
            if fitting is None:
                self._add_unknown(name, kind, values)
            elif kind not in fitting and kind is not JsonKind.NULL:
                tally = self._tallies.setdefault(name, _Tally())
                tally.kinds[kind] = tally.kinds.get(kind, 0) + 1

    def _add_unknown(self, name: str, kind: JsonKind, values: Sequence[Any]) -> None:
        if name not in self._tallies:
            if self._unknown >= MOST_UNKNOWN or len(name) > LONGEST_NAME:
                return
            self._unknown += 1
        tally = self._tallies.setdefault(name, _Tally())
        tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
        room = MOST_VALUES - len(tally.values)
        tally.values += [_plain(value) for value in values[: min(room, MOST_OF_RECORD)]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shapes) and self.to_event() == other.to_event()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def to_event(self) -> ShapeTally | None:
        """Write the tally as it is published; None while no record was sampled."""
        if not self.records:
            return None
        fields = {
            name: FieldTally(absent=tally.absent, kinds=dict(sorted(tally.kinds.items())), values=tuple(tally.values))
            for name, tally in self._tallies.items()
        }
        return ShapeTally(records=self.records, fields=fields)

    @classmethod
    def from_event(cls, event: ShapeTally | None, spec: ModelSpec) -> Self:
        """Continue a published tally."""
        shapes = cls(spec)
        if event is not None:
            shapes.records = event.records
            for name, tally in event.fields.items():
                shapes._tallies[name] = _Tally(tally.absent, dict(tally.kinds), list(tally.values))
                shapes._unknown += name not in shapes._fitting
        return shapes


def _plain(value: Any) -> Value:
    """Keep a value that JSON can hold, at a length that a total can hold."""
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if np.isfinite(number) else None
    return None
