"""The open incidents of one model: one for each version, stage and family, whatever order their events come in.

An event that is older than what is known of its incident changes nothing. Where an incident opens although the last one
of its version, stage and family was never resolved (a judge began afresh), the one that opened later is the open one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from detector.lineage import numbers_only
from detector.responses.inputs import time_of
from schemas.outbound import DriftEvent, IncidentStatus, Response, Tier

MOST_OPEN: Final = 64
"""Open incidents of a model; of more, those that were silent for longest are given up."""
KEPT_CLOSED: Final = 200
"""Closed incidents of a model that are remembered, so that their late events open nothing."""
KEPT_SIGNALS: Final = 100
"""Signals of an incident that are kept, the worst."""


@dataclass(slots=True)
class Case:
    """An open incident."""

    event: DriftEvent
    """Its last event, shortened."""
    time: float
    """Event time of that, seconds since 1970."""
    opened_at: float
    drifted: int
    """Signals that have a tier, those that were left out too."""
    wanted_since: float | None = None
    """Since when it asks for retraining; None while it does not."""
    done: set[Response] = field(default_factory=set)
    """Investigation and enhanced monitoring, once they were asked for."""
    requests: int = 0
    """Retrain requests made because of it."""
    asked: bool = False
    """Whether one of them runs, has succeeded, or was never answered: it asks for no other."""

    @property
    def id(self) -> str:
        """The incident's."""
        return self.event.incident_id

    @property
    def key(self) -> tuple[str, str, str]:
        """Of which at most one is open."""
        return (self.event.version, self.event.stage.value, self.event.family.value)

    @property
    def _age(self) -> tuple[float, str]:
        return (self.opened_at, self.id)

    def is_older_than(self, other: Case) -> bool:
        """Whether it opened before the other one."""
        return self._age < other._age


@dataclass(frozen=True, slots=True)
class _Closed:
    """What is remembered of an incident that is over: it may open again."""

    time: float
    requests: int
    asked: bool


class Casebook:
    """The open incidents of one model."""

    def __init__(self) -> None:
        self._open: dict[str, Case] = {}
        self._closed: OrderedDict[str, _Closed] = OrderedDict()

    def __iter__(self) -> Iterator[Case]:
        """Worst first; of equals the one that opened first."""
        return iter(sorted(self._open.values(), key=lambda case: (-case.event.tier.rank, case._age)))

    def __len__(self) -> int:
        return len(self._open)

    def find(self, incident_id: str | None) -> Case | None:
        """The open incident of that id."""
        return None if incident_id is None else self._open.get(incident_id)

    def take(self, event: DriftEvent) -> tuple[Case | None, list[Case]]:
        """Take an event.

        Returns
        -------
        tuple
            Its incident, if it is open and the event was new; and the incidents that have ended by it.
        """
        time = time_of(event)
        known = self._open.get(event.incident_id)
        if time is None or (known is not None and time < known.time):
            return None, []
        closed = self._closed.get(event.incident_id, _Closed(-math.inf, 0, False))
        if time <= closed.time:
            return None, []
        opened_at = event.opened_at.timestamp() if event.opened_at is not None else time
        case = known or Case(event, time, opened_at, 0, requests=closed.requests, asked=closed.asked)
        case.event, case.time = shortened(event), time
        case.drifted = sum(verdict.tier is not Tier.NONE for verdict in event.signals)
        if event.status is IncidentStatus.RESOLVED or event.tier is Tier.NONE:
            return None, [self._close(case)]
        return self._admit(case)

    def _admit(self, case: Case) -> tuple[Case | None, list[Case]]:
        """Make it the open one of its key, unless a later one is open."""
        rivals = [other for other in self._open.values() if other.key == case.key and other.id != case.id]
        if any(case.is_older_than(other) for other in rivals):
            return None, [self._close(case)] if case.id in self._open else []
        self._open[case.id] = case
        ended = [self._close(other) for other in rivals]
        while len(self._open) > MOST_OPEN:
            ended.append(self._close(min(self._open.values(), key=lambda each: (each.time, each.id))))
        return (case if case.id in self._open else None), ended

    def _close(self, case: Case) -> Case:
        self._open.pop(case.id, None)
        self._closed.pop(case.id, None)
        self._closed[case.id] = _Closed(case.time, case.requests, case.asked)
        while len(self._closed) > KEPT_CLOSED:
            self._closed.popitem(last=False)
        return case

    def may_ask_again(self, incident_id: str | None) -> None:
        """Its training has failed."""
        if (case := self.find(incident_id)) is not None:
            case.asked = False
        elif incident_id is not None and incident_id in self._closed:
            self._closed[incident_id] = replace(self._closed[incident_id], asked=False)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {
            "open": [
                {
                    "event": case.event.model_dump(mode="json"),
                    "time": case.time,
                    "opened_at": case.opened_at,
                    "drifted": case.drifted,
                    "wanted_since": case.wanted_since,
                    "done": sorted(case.done),
                    "requests": case.requests,
                    "asked": case.asked,
                }
                for case in self._open.values()
            ],
            "closed": [[name, each.time, each.requests, each.asked] for name, each in self._closed.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        cases = (
            Case(
                **{**each, "event": DriftEvent.model_validate(each["event"]), "done": set(map(Response, each["done"]))}
            )
            for each in state["open"]
        )
        self._open = {case.id: case for case in cases}
        self._closed = OrderedDict((name, _Closed(*rest)) for name, *rest in state["closed"])


def shortened(event: DriftEvent) -> DriftEvent:
    """What is kept of an event: the worst signals without their bins, the last step and what it did in numbers."""
    signals = tuple(
        verdict.model_copy(update={"bins": (), "distances": {}, "next_tier": None})
        for verdict in event.signals[:KEPT_SIGNALS]
    )
    evidence = numbers_only(event.lineage.evidence[:KEPT_SIGNALS])
    lineage = event.lineage.model_copy(update={"steps": event.lineage.steps[-1:], "evidence": evidence})
    return event.model_copy(update={"signals": signals, "lineage": lineage, "performance": ()})
