"""All that is decided from one partition of the log: a `ModelResponses` for each model, and one `AlertDesk`.

Each of them is saved by itself and remembers how far along the log it has come, so that what is read again after a
crash is taken by those that were not saved, and by them alone. They share nothing but the log.

A forwarded record says where it came from. What was forwarded twice, by a worker that crashed or by one that did not
know yet that it was replaced, is behind what its source has given already, and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from detector.responses.desk import AlertDesk
from detector.responses.inputs import Decision, Input, Specs
from detector.responses.model import ModelResponses
from schemas.outbound import DriftEvent
from schemas.responses import EVERY_MODEL, MaintenanceNotice, Tick, VersionProgress

DESK: Final = "/desk"
"""Key of the desk's state: no model can have this name."""
NOTICES: Final = "/notices"
"""Key of the notices of maintenance, which concern models that are still to come too."""
KEPT_NOTICES: Final = 1_000

Machine = TypeVar("Machine", ModelResponses, AlertDesk)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log."""

    offset: int
    at: float
    """Its time, in seconds since 1970."""
    item: Input
    source: str | None = None
    """The partition it was forwarded from."""
    source_offset: int = 0
    """And its offset there."""


@dataclass(slots=True)
class _Kept(Generic[Machine]):
    """A machine, how far it has come, and how far its sources have."""

    machine: Machine
    reached: int = 0
    fences: dict[str, int] = field(default_factory=dict)

    def is_new(self, entry: Entry) -> bool:
        """Whether the entry has not been taken; from here on it has."""
        if entry.offset < self.reached:
            return False
        self.reached = entry.offset + 1
        if entry.source is None:
            return True
        known = self.fences.get(entry.source, 0)
        self.fences[entry.source] = max(known, entry.source_offset + 1)
        return entry.source_offset >= known

    def state(self) -> dict[str, Any]:
        return {"reached": self.reached, "fences": dict(self.fences), "machine": self.machine.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.reached, self.fences = state["reached"], dict(state["fences"])
        self.machine.restore(state["machine"])


class PartitionResponses:
    """Decides what follows for the models of a partition.

    Attributes
    ----------
    changed
        Keys of what has changed since its state was last taken.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Kept[ModelResponses]] = {}
        self._desk = _Kept(AlertDesk())
        self._notices: list[tuple[int, float, MaintenanceNotice]] = []
        self.changed: set[str] = set()

    def take(self, entry: Entry, specs: Specs) -> list[Decision]:
        """Take an entry; those of a version that nobody knows are passed over."""
        item = entry.item
        if isinstance(item, DriftEvent | VersionProgress):
            if specs(item.model, item.version) is None:
                return []
            self._meet(item.model, entry)
        elif isinstance(item, MaintenanceNotice):
            self._note(item, entry)
        decisions: list[Decision] = []
        for name in self._concerned(item):
            decisions += self._take(name, self._models[name], entry, specs)
        decisions += self._take(DESK, self._desk, entry, specs)
        return decisions

    def _concerned(self, item: Input) -> list[str]:
        """Names of the models that it is for, of those that are known."""
        if isinstance(item, Tick) or item.model == EVERY_MODEL:
            return list(self._models)
        return [item.model] if item.model in self._models else []

    def _note(self, notice: MaintenanceNotice, entry: Entry) -> None:
        if all(offset < entry.offset for offset, *_ in self._notices):
            self._notices = [*self._notices, (entry.offset, entry.at, notice)][-KEPT_NOTICES:]
            self.changed.add(NOTICES)

    def _meet(self, model: str, entry: Entry) -> None:
        """Begin with a model; it is told of the notices that have come before."""
        if model in self._models:
            return
        self._models[model] = kept = _Kept(ModelResponses(model))
        for offset, at, notice in self._notices:
            if offset < entry.offset and notice.model in (model, EVERY_MODEL):
                kept.machine.take(notice, at, lambda *_: None)

    def _take(self, key: str, kept: _Kept[Machine], entry: Entry, specs: Specs) -> list[Decision]:
        if not kept.is_new(entry):
            return []
        decisions: list[Decision] = [*kept.machine.take(entry.item, entry.at, specs)]
        if kept.machine.moved:
            self.changed.add(key)
        return decisions

    # ----------------------------------------------------------------------------------------------------- state

    def states(self, keys: Iterable[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Give, for each key, how far it has come and its state."""
        for key in keys:
            if key == NOTICES:
                notices = [[offset, at, notice.model_dump(mode="json")] for offset, at, notice in self._notices]
                yield key, max((offset for offset, *_ in self._notices), default=-1) + 1, {"notices": notices}
            else:
                kept = self._desk if key == DESK else self._models[key]
                yield key, kept.reached, kept.state()

    def restore(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Continue from saved states, by key."""
        for key, state in states.items():
            if key == NOTICES:
                self._notices = [(offset, at, MaintenanceNotice(**notice)) for offset, at, notice in state["notices"]]
            elif key == DESK:
                self._desk.restore(state)
            else:
                self._models[key] = _Kept(ModelResponses(key))
                self._models[key].restore(state)
