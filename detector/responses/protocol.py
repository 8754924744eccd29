"""Tiers become investigations and enhanced monitoring.

=======================  =============================================================================================
investigate              once, when the tier of an incident asks for it, with the diagnosis of that moment
enhanced monitoring      begins when the tier asks for it, and is over when the incident is
=======================  =============================================================================================

Both wait while maintenance is on; an incident that is over by then is answered with nothing.
"""

from __future__ import annotations

from typing import Any, Final

from detector.incidents import content_id
from detector.responses.cases import Case
from detector.responses.inputs import SEVERITIES, moment
from schemas.outbound import Response, Tier
from schemas.policy import PolicySpec
from schemas.responses import ResponseEvent, ResponseStatus

NAMED: Final = 10
"""Signals named in a response, the worst."""
LEFT_TO_OTHERS: Final = (
    "publish and judge this model more often",
    "count all of its rows where only a sample is sent",
    "sample more rows for surrogate models",
    "break down by segments that the spec does not name",
)
"""What enhanced monitoring could be and is not: a version's spec never changes, and counting follows from it alone."""

_FOLLOWED: Final = (Response.INVESTIGATE, Response.ENHANCED_MONITORING)


def follow(case: Case, policy: PolicySpec, now: float) -> list[ResponseEvent]:
    """Answer an open incident with what its tier asks for and it has not been answered with."""
    asked = policy.follow(case.event.tier, case.event.family)
    due = [action for action in _FOLLOWED if action in asked and action not in case.done]
    case.done.update(due)
    return [_event(case, policy, action, ResponseStatus.STARTED, now) for action in due]


def end(case: Case, policy: PolicySpec, now: float) -> list[ResponseEvent]:
    """Take back what lasts as long as the incident does."""
    if Response.ENHANCED_MONITORING not in case.done:
        return []
    return [_event(case, policy, Response.ENHANCED_MONITORING, ResponseStatus.ENDED, now)]


def _event(case: Case, policy: PolicySpec, action: Response, status: ResponseStatus, now: float) -> ResponseEvent:
    event = case.event
    signals = tuple(verdict.name for verdict in event.signals if verdict.tier is not Tier.NONE)[:NAMED]
    details: dict[str, Any] = {}
    if status is ResponseStatus.STARTED and action is Response.ENHANCED_MONITORING:
        details["left_to_others"] = LEFT_TO_OTHERS
    if status is ResponseStatus.STARTED:
        details |= {"diagnosis": event.diagnosis, "since_offsets": event.since_offsets}
    return ResponseEvent(
        id=content_id(event.incident_id, action, status, event.id),
        action=action,
        status=status,
        severity=SEVERITIES[event.tier],
        model=event.model,
        version=event.version,
        stage=event.stage,
        owner=event.owner,
        labels=policy.labels,
        runbook=policy.runbook,
        incident_id=event.incident_id,
        dedup_key=event.incident_id,
        event_id=event.id,
        tier=event.tier,
        summary=_SENTENCES[action, status].format(name=f"{event.model} {event.version}", told=event.summary),
        time=moment(now),
        since=event.since,
        signals=signals,
        **details,
    )


_SENTENCES: Final = {
    (Response.INVESTIGATE, ResponseStatus.STARTED): "Please look: {told}",
    (Response.ENHANCED_MONITORING, ResponseStatus.STARTED): "Watch {name} closely until this is over: {told}",
    (Response.ENHANCED_MONITORING, ResponseStatus.ENDED): "{name} need not be watched more closely any more",
}
