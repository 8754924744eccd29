"""Sampled records that came between two looks at the schema, of all source partitions together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.model_spec import OffsetRange
from schemas.schema_changes import FieldTally, ShapeTally

Partition = tuple[str, int]


class Stretch:
    """Sampled records of all partitions since something was said last."""

    def __init__(self) -> None:
        self.records = 0
        self.absent: dict[str, int] = {}
        self.kinds: dict[str, dict[str, int]] = {}
        self.values: dict[str, dict[str, list[Any]]] = {}
        """By name and partition; they are the first ones under that name, however often they are met."""
        self._ranges: dict[Partition, tuple[int, int]] = {}

    def add(self, before: ShapeTally, after: ShapeTally, where: OffsetRange) -> None:
        """Add what came between two tallies."""
        self.records += after.records - before.records
        for name, tally in after.fields.items():
            old = before.fields.get(name, FieldTally())
            if more := tally.absent - old.absent:
                self.absent[name] = self.absent.get(name, 0) + more
            kinds = {kind.value: count - old.kinds.get(kind, 0) for kind, count in tally.kinds.items()}
            for kind, more in kinds.items():
                if more:
                    mine = self.kinds.setdefault(name, {})
                    mine[kind] = mine.get(kind, 0) + more
            if any(kinds.values()) and tally.values:
                self.values.setdefault(name, {})[f"{where.topic}/{where.partition}"] = list(tally.values)
        place = where.topic, where.partition
        first, _ = self._ranges.get(place, (where.from_offset, 0))
        self._ranges[place] = (first, where.to_offset)

    def values_of(self, name: str) -> list[Any]:
        """Values under a name that the spec does not know, of all partitions."""
        return [value for _, values in sorted(self.values.get(name, {}).items()) for value in values]

    def seen_in(self) -> tuple[OffsetRange, ...]:
        """Where these records lie, by partition."""
        return tuple(
            OffsetRange(topic=topic, partition=partition, from_offset=first, to_offset=last)
            for (topic, partition), (first, last) in sorted(self._ranges.items())
        )

    def state(self) -> dict[str, Any]:
        """Return what `restored` takes."""
        ranges = [[*place, *ends] for place, ends in sorted(self._ranges.items())]
        return {"records": self.records, "absent": self.absent, "kinds": self.kinds, "values": self.values,
                "ranges": ranges}  # fmt: skip

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Stretch:
        """Continue from a saved state."""
        stretch = cls()
        stretch.records = state["records"]
        stretch.absent, stretch.kinds, stretch.values = (dict(state[name]) for name in ("absent", "kinds", "values"))
        stretch._ranges = {(topic, partition): (first, last) for topic, partition, first, last in state["ranges"]}
        return stretch
