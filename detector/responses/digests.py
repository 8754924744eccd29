"""Digests: what happened to each incident since the last one, one line each, for every owner at the owner's hour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, Self

from detector.incidents import content_id
from detector.responses.calendar import next_time
from detector.responses.grouping import Known
from detector.responses.inputs import moment
from schemas.model_spec import ModelSpec
from schemas.outbound import IncidentStatus
from schemas.responses import Digest, DigestGroup, DigestIncident

MOST_LISTED: Final = 200
"""Incidents in a digest; of more only their number."""
NAMED_MODELS: Final = 3


class Route(NamedTuple):
    """Who reads a digest, and when."""

    owner: str | None
    cron: str
    zone: str

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """The one that a model's news take."""
        return cls(spec.owner, spec.responses.alerts.digest, spec.timezone)


@dataclass(slots=True)
class _Waiting:
    """What is to be told on one route."""

    due: float
    """By the time of the models in it, in seconds since 1970."""
    runbooks: dict[str, str | None] = field(default_factory=dict)
    """By model."""
    incidents: list[str] = field(default_factory=list)
    """Ids, in the order in which something happened first."""
    left_out: int = 0


class Digests:
    """The digests that are being collected."""

    def __init__(self) -> None:
        self._routes: dict[Route, _Waiting] = {}

    def add(self, known: Known, route: Route, runbook: str | None, now: float) -> None:
        """Note that something happened to an incident, at its model's time ``now``."""
        waiting = self._routes.get(route)
        if waiting is None:
            waiting = self._routes[route] = _Waiting(next_time(route.cron, route.zone, now))
        if known.id in waiting.incidents:
            return
        if len(waiting.incidents) >= MOST_LISTED:
            waiting.left_out += 1
            return
        waiting.incidents.append(known.id)
        waiting.runbooks[known.model] = runbook

    def due(self, known: dict[str, Known], clock: Callable[[str], float | None]) -> list[Digest]:
        """Return the digests whose time has come by the time of a model in them; what is over is forgotten."""
        digests = []
        for route, waiting in list(self._routes.items()):
            times = [now for model in waiting.runbooks if (now := clock(model)) is not None]
            if times and max(times) >= waiting.due:
                digests.append(_digest(route, waiting, known))
                del self._routes[route]
                for name in waiting.incidents:
                    if (each := known.get(name)) is not None:
                        each.changes = 0
                        if each.status is IncidentStatus.RESOLVED:
                            del known[name]
        return digests

    def state(self) -> list[Any]:
        """Return what `restore` takes: plain values."""
        return [[list(route), asdict(waiting)] for route, waiting in self._routes.items()]

    def restore(self, state: list[Any]) -> None:
        """Continue from a saved state."""
        self._routes = {Route(*route): _Waiting(**waiting) for route, waiting in state}


def _digest(route: Route, waiting: _Waiting, known: Mapping[str, Known]) -> Digest:
    groups: dict[tuple[str, str], list[Known]] = {}
    for name in waiting.incidents:
        if (each := known.get(name)) is not None:
            groups.setdefault((each.parent or each.id, each.model), []).append(each)
    firing = sum(each.status is IncidentStatus.FIRING for group in groups.values() for each in group)
    models = list(dict.fromkeys(model for _, model in groups))
    more = f" and {len(models) - NAMED_MODELS} more" if len(models) > NAMED_MODELS else ""
    named = ", ".join(models[:NAMED_MODELS]) + more
    total = sum(map(len, groups.values())) + waiting.left_out
    return Digest(
        id=content_id("digest", *(part or "" for part in route), moment(waiting.due).isoformat()),
        owner=route.owner,
        time=moment(waiting.due),
        summary=f"{total} incident{'s' if total != 1 else ''} of {named}, {firing} still on",
        groups=tuple(_group(parent, members, waiting) for (parent, _), members in groups.items()),
        left_out=waiting.left_out,
    )


def _group(parent: str, members: list[Known], waiting: _Waiting) -> DigestGroup:
    cause = tuple(dict.fromkeys(signal for each in members for signal in each.cause))
    return DigestGroup(
        model=members[0].model,
        cause=cause,
        parent_id=parent if any(each.parent == parent for each in members) else None,
        runbook=waiting.runbooks.get(members[0].model),
        incidents=tuple(map(_incident, members)),
    )


def _incident(known: Known) -> DigestIncident:
    over = known.status is IncidentStatus.RESOLVED
    return DigestIncident(
        incident_id=known.id,
        version=known.version,
        stage=known.stage,
        family=known.family,
        status=known.status,
        tier=known.tier,
        highest=known.highest,
        opened_at=moment(known.opened_at),
        resolved_at=moment(known.time) if over else None,
        changes=known.changes,
        during_maintenance=known.in_maintenance,
        summary=known.summary,
    )
