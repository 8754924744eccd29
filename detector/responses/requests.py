"""What a retrain request says: why, how soon, on which rows, in whose place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

from detector.monitor import VERSION
from detector.responses.cases import Case
from detector.responses.inputs import moment
from detector.responses.versions import Version
from schemas.model_spec import ModelSpec, OffsetRange, Stage
from schemas.outbound import DriftEvent, DriftKind, Lineage, SignalVerdict, Tier, TrainingRange, Urgency
from schemas.responses import RetrainRequest, SignalEvidence, Trigger

FAR_BEYOND: Final = 10.0
"""Evidence at so many times its threshold makes a request urgent."""
NAMED_SIGNALS: Final = 100
"""Signals named in a request, the worst."""
NAMED_EVIDENCE: Final = 20

_WORSE: Final = frozenset({DriftKind.PERFORMANCE, DriftKind.CONCEPT})


def for_incident(case: Case, spec: ModelSpec, now: float, version: Version | None) -> RetrainRequest:
    """Make the request of an incident, at the model's time ``now``.

    The same incident gets the same id, however often it is decided; after a training that failed, another one.
    """
    event = case.event
    drifted = _drifted(event)
    signals = tuple(verdict.name for verdict in drifted)
    again = f"/{case.requests + 1}" if case.requests else ""
    return RetrainRequest(
        **_identity(f"retrain/{event.incident_id}{again}"),
        **_of_spec(spec),
        stage=event.stage,
        reason=_why_incident(event, signals, case.drifted),
        urgency=urgency(event),
        tier=event.tier,
        incident_id=event.incident_id,
        event_id=event.id,
        time=moment(now),
        cooldown_until=moment(now) + spec.retraining.cooldown,
        signals=signals[:NAMED_SIGNALS],
        evidence=tuple(map(_evidence, drifted[:NAMED_EVIDENCE])),
        fresh_labels=None if version is None else version.fresh_labels,
        training_range=training_range(event),
        lineage=event.lineage,
    )


@dataclass(frozen=True, slots=True)
class Why:
    """Why retraining is asked for where no incident does."""

    trigger: Trigger
    key: str
    """What makes the request the same one when it is decided again, such as the time that was scheduled."""
    reason: str
    """One sentence."""


def for_version(version: Version, why: Why, spec: ModelSpec, now: float) -> RetrainRequest:
    """Make a request that no incident asks for, for the version in production and on the rows since the last one."""
    progress = version.progress
    worse = why.trigger is Trigger.CHALLENGER
    return RetrainRequest(
        **_identity(f"retrain/{progress.model}/{progress.version}/{why.trigger}/{why.key}"),
        **_of_spec(spec),
        stage=Stage.PRODUCTION,
        reason=why.reason,
        trigger=why.trigger,
        urgency=Urgency.HIGH if worse else Urgency.NORMAL,
        tier=Tier.NONE,
        time=moment(now),
        cooldown_until=moment(now) + spec.retraining.cooldown,
        signals=(),
        fresh_labels=version.fresh_labels,
        training_range=TrainingRange(since=moment(version.since), until=progress.time, offsets=version.fresh_offsets),
        lineage=Lineage(spec_hash=progress.spec_hash, driftline=VERSION, offsets=progress.offsets, steps=()),
    )


def urgency(event: DriftEvent) -> Urgency:
    """High where answers are known to be worse or the evidence is overwhelming."""
    drifted = _drifted(event)
    worse = any(verdict.kind in _WORSE for verdict in drifted)
    overwhelming = any(
        verdict.tier is Tier.SIGNIFICANT and verdict.evidence >= FAR_BEYOND * verdict.threshold for verdict in drifted
    )
    return Urgency.HIGH if worse or overwhelming else Urgency.NORMAL


def training_range(event: DriftEvent) -> TrainingRange:
    """The rows since the estimated onset, up to the last row judged; all rows judged where the onset is unknown."""
    reached = {(end.topic, end.partition): end.to_offset for end in event.lineage.offsets}
    offsets = tuple(
        OffsetRange(
            topic=since.topic,
            partition=since.partition,
            from_offset=since.from_offset,
            to_offset=max(since.to_offset, reached.get((since.topic, since.partition), 0)),
        )
        for since in event.since_offsets
    )
    return TrainingRange(
        since=event.since or event.opened_at, until=event.time, offsets=offsets or event.lineage.offsets
    )


def lasted(span: timedelta) -> str:
    """Write a length of time for people: whole days, or hours."""
    hours = span.total_seconds() / 3_600.0
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"


def _drifted(event: DriftEvent) -> list[SignalVerdict]:
    return [verdict for verdict in event.signals if verdict.tier is not Tier.NONE]


def _identity(dedup_key: str) -> dict[str, str]:
    return {"id": hashlib.sha256(dedup_key.encode()).hexdigest()[:32], "dedup_key": dedup_key}


def _of_spec(spec: ModelSpec) -> dict[str, object]:
    policy = spec.responses
    return {
        "model": spec.model,
        "version": spec.version,
        "owner": spec.owner,
        "labels": policy.labels,
        "runbook": policy.runbook,
    }


def _evidence(verdict: SignalVerdict) -> SignalEvidence:
    fields = {name: getattr(verdict, name) for name in SignalEvidence.model_fields}
    return SignalEvidence(**{**fields, "signal": verdict.name})


def _why_incident(event: DriftEvent, signals: tuple[str, ...], drifted: int) -> str:
    worst = ", ".join(signals[:3]) + (f" and {drifted - 3} more" if drifted > 3 else "")
    since = f" since {event.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if event.since else ""
    return (
        f"{event.model} {event.version} in {event.stage} has drifted {_HOW[event.tier]}{since}: "
        f"{drifted} of {event.signals_watched} signals ({worst})."
    )


_HOW: Final = {
    Tier.NONE: "no more",
    Tier.MINOR: "a little",
    Tier.MODERATE: "moderately",
    Tier.SIGNIFICANT: "significantly",
}
