"""The desk that decides who is woken: alerts at once, everything else in a digest, one cause told once.

==================  ===================================================================================================
an incident         is told
==================  ===================================================================================================
reaches the tier    at once, and again when it escalates beyond what was told, and when it is over; not where its
``alerts.at_once``  parent's alert has told the same owner of the same tier
below that          in the owner's next digest, with all that happened to it since the last one in one line
in maintenance      in the digest; at once when maintenance is over and it is not
==================  ===================================================================================================

So every incident is told once at least. The desk reads the same log as the models' responses, and nothing of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from detector.incidents import content_id
from detector.responses.calendar import Notices, window_end
from detector.responses.clock import ModelClock
from detector.responses.digests import Digests, Route
from detector.responses.grouping import Known, cause_of, parent_of
from detector.responses.inputs import SEVERITIES, Input, Specs, moment, time_of
from schemas.model_spec import ModelSpec
from schemas.outbound import Change, DriftEvent, IncidentStatus, Tier
from schemas.responses import EVERY_MODEL, Alert, Digest, MaintenanceNotice, Tick, VersionProgress

MOST_KNOWN: Final = 5_000
"""Incidents that are known; of more, those that were silent for longest are forgotten."""


class AlertDesk:
    """Alerts and digests of all models of a partition.

    Attributes
    ----------
    moved
        Whether the last input has changed what is saved.
    """

    def __init__(self) -> None:
        self._clocks: dict[str, ModelClock] = {}
        self._notices: dict[str, Notices] = {}
        self._known: dict[str, Known] = {}
        self._digests = Digests()
        self.moved = False

    def take(self, item: Input, at: float, specs: Specs) -> list[Alert | Digest]:
        """Take an input, as `ModelResponses.take` does."""
        alerts: list[Alert | Digest] = []
        moved = isinstance(item, DriftEvent | MaintenanceNotice)
        match item:
            case DriftEvent():
                self._clock(item.model).hear(time_of(item), at)
                alerts += self._take_event(item, at, specs)
            case VersionProgress() if item.time is not None:
                moved = self._clock(item.model).hear(item.time.timestamp(), at)
            case MaintenanceNotice():
                self._notices.setdefault(item.model, Notices()).take(item)
            case Tick():
                for known in self._waiting():
                    alerts += self._tell(known, at, specs)
            case _:
                pass
        decided = [*alerts, *self._digests.due(self._known, lambda model: self._clock(model).read(at))]
        self.moved = moved or bool(decided)
        return decided

    def _waiting(self) -> list[Known]:
        return [known for known in self._known.values() if known.in_maintenance]

    def _clock(self, model: str) -> ModelClock:
        return self._clocks.setdefault(model, ModelClock())

    # ---------------------------------------------------------------------------------------------- at once

    def _take_event(self, event: DriftEvent, at: float, specs: Specs) -> list[Alert]:
        spec, time = specs(event.model, event.version), time_of(event)
        known = self._known.get(event.incident_id)
        if spec is None or time is None or (known is not None and time < known.time):
            return []
        if known is None:
            known = self._meet(event, time, spec)
        known.time, known.tier, known.status = time, event.tier, event.status
        known.highest = max(known.highest, event.tier, key=_rank)
        known.event_id, known.summary, known.cause = event.id, event.summary, cause_of(event) or known.cause
        alerts = self._tell(known, at, specs, reopened=event.change is Change.REOPENED)
        if not alerts:
            known.changes += 1
            self._digests.add(known, Route.of(spec), spec.responses.runbook, self._clock(event.model).read(at) or time)
        elif known.status is IncidentStatus.RESOLVED and known.changes == 0:
            del self._known[known.id]
        return alerts

    def _meet(self, event: DriftEvent, time: float, spec: ModelSpec) -> Known:
        opened_at = time if event.opened_at is None else event.opened_at.timestamp()
        known = Known(
            event.incident_id, event.model, event.version, event.stage, event.family, opened_at, time, event.tier,
            event.tier, event.status, cause_of(event), event.id, event.summary,
        )  # fmt: skip
        known.parent = parent_of(known, self._known.values(), spec.responses.alerts.group_within.total_seconds())
        self._known[known.id] = known
        while len(self._known) > MOST_KNOWN:
            del self._known[min(self._known.values(), key=lambda each: (each.time, each.id)).id]
        return known

    def _tell(self, known: Known, at: float, specs: Specs, *, reopened: bool = False) -> list[Alert]:
        """Tell at once what is to be told at once."""
        spec, now = specs(known.model, known.version), self._clock(known.model).read(at)
        if spec is None or now is None:
            return []
        if known.status is IncidentStatus.RESOLVED:
            was_told, known.told = known.told, Tier.NONE
            if was_told is Tier.NONE:
                return []
            known.in_maintenance = False
            still_on = [each for each in self._known.values() if each.parent == known.id]
            resolved = _alert(known, spec, Change.RESOLVED, now)
            return [resolved, *(alert for each in still_on for alert in self._tell(each, at, specs))]
        urgent = known.tier.rank >= max(spec.responses.alerts.at_once.rank, known.told.rank + 1)
        if not urgent or self._told_by_parent(known, spec, specs):
            return []
        known.in_maintenance = self._in_maintenance(spec, now)
        if known.in_maintenance:
            return []
        first = Change.REOPENED if reopened else Change.OPENED
        change = first if known.told is Tier.NONE else Change.ESCALATED
        known.told = known.tier
        return [_alert(known, spec, change, now)]

    def _told_by_parent(self, known: Known, spec: ModelSpec, specs: Specs) -> bool:
        parent = self._known.get(known.parent or "")
        its_spec = None if parent is None else specs(parent.model, parent.version)
        if parent is None or its_spec is None:
            return False
        return its_spec.owner == spec.owner and parent.told.rank >= known.tier.rank

    def _in_maintenance(self, spec: ModelSpec, now: float) -> bool:
        if window_end(spec.responses.maintenance, spec.timezone, now) is not None:
            return True
        notices = (self._notices.get(spec.model), self._notices.get(EVERY_MODEL))
        return any(each.end(now) is not None for each in notices if each is not None)

    # ----------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {
            "clocks": {model: clock.state() for model, clock in self._clocks.items()},
            "notices": {model: notices.state() for model, notices in self._notices.items()},
            "known": [known.state() for known in self._known.values()],
            "digests": self._digests.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._clocks, self._notices = {}, {}
        for model, saved in state["clocks"].items():
            self._clock(model).restore(saved)
        for model, saved in state["notices"].items():
            self._notices.setdefault(model, Notices()).restore(saved)
        self._known = {saved["id"]: Known.restored(saved) for saved in state["known"]}
        self._digests.restore(state["digests"])


def _rank(tier: Tier) -> int:
    return tier.rank


def _alert(known: Known, spec: ModelSpec, change: Change, now: float) -> Alert:
    policy = spec.responses
    return Alert(
        id=content_id(known.id, "alert", change, known.event_id),
        dedup_key=known.parent or known.id,
        change=change,
        status=known.status,
        severity=SEVERITIES[known.tier],
        model=known.model,
        version=known.version,
        stage=known.stage,
        family=known.family,
        owner=spec.owner,
        labels=policy.labels,
        runbook=policy.runbook,
        incident_id=known.id,
        parent_id=known.parent,
        event_id=known.event_id,
        tier=known.tier,
        cause=known.cause,
        summary=known.summary,
        time=moment(now),
    )
