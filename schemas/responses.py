"""What follows drift events, and what people and pipelines answer.

Sent: responses, retrain requests, alerts and digests. Read: acknowledgements of retrain requests, and notices of
maintenance. Between them stands what the response agent tells itself: how far versions have come, and the time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, Field, model_validator

from schemas.base import Inbound, Name, Outbound
from schemas.model_spec import OffsetRange, Stage
from schemas.outbound import (
    Change,
    Diagnosis,
    DriftKind,
    Family,
    IncidentStatus,
    Lineage,
    ModelState,
    Severity,
    TrainingRange,
    Urgency,
)
from schemas.tiers import Response, Tier

EVERY_MODEL: Final = "*"
"""The model of a notice that concerns all."""

# ------------------------------------------------------------------------------------------------------- what is sent


class ResponseStatus(StrEnum):
    """How far a response has come."""

    STARTED = "started"
    """An investigation is asked for; enhanced monitoring begins; a training has begun."""
    ENDED = "ended"
    """Enhanced monitoring is over."""
    SUCCEEDED = "succeeded"
    """A training made a new version."""
    FAILED = "failed"
    """A training failed, or took longer than it may."""
    UNANSWERED = "unanswered"
    """Nobody has answered a retrain request in time: it is sent again."""
    EXPIRED = "expired"
    """Nobody ever has: it is not sent any more."""


class ResponseEvent(Outbound):
    """Something is to be done about a model, is being done, or is over."""

    id: str
    action: Response
    status: ResponseStatus
    severity: Severity
    model: str
    version: str
    stage: Stage = Stage.PRODUCTION
    owner: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    runbook: str | None = None
    incident_id: str | None = None
    request_id: str | None = None
    """Of retraining: the request."""
    dedup_key: str
    """The incident's id, or the request's."""
    event_id: str | None = None
    """The drift event behind it."""
    tier: Tier
    summary: str
    """One sentence for people."""
    time: AwareDatetime
    """By the model's time."""
    since: AwareDatetime | None = None
    """Estimated onset of the change."""
    since_offsets: tuple[OffsetRange, ...] = ()
    signals: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    measures: tuple[str, ...] = ()
    """Of enhanced monitoring: what driftline does while it lasts."""
    left_to_others: tuple[str, ...] = ()
    """Of enhanced monitoring: what would help and driftline does not do."""
    new_version: str | None = None
    """Of a training that succeeded."""


class Trigger(StrEnum):
    """Why retraining is asked for."""

    INCIDENT = "incident"
    SCHEDULE = "schedule"
    LABELS = "labels"
    """There are so many new rows with labels."""
    CHALLENGER = "challenger"
    """Challengers are surely better than the model."""
    AGE = "age"


class SignalEvidence(Outbound):
    """What speaks for retraining: a signal of the incident."""

    signal: str
    kind: DriftKind
    tier: Tier
    score: float
    score_name: str
    evidence: float
    """Nats."""
    threshold: float
    """Nats."""


class RetrainRequest(Outbound):
    """Asks a pipeline to train a new version. To be answered on ``retrain-acks``."""

    id: str
    """The same however often it is sent."""
    dedup_key: str
    """One request for one reason: the same key, the same request."""
    attempt: int = 1
    """The how manieth time it is sent."""
    model: str
    version: str
    stage: Stage
    owner: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    runbook: str | None = None
    reason: str
    """One sentence for people."""
    trigger: Trigger = Trigger.INCIDENT
    urgency: Urgency
    tier: Tier
    """Of the incident; none where there is no incident."""
    incident_id: str | None = None
    event_id: str | None = None
    """The drift event that asked."""
    time: AwareDatetime
    """When it was asked for, by the model's time."""
    cooldown_until: AwareDatetime
    """By the model's time: no further request for this model before."""
    signals: tuple[str, ...]
    evidence: tuple[SignalEvidence, ...] = ()
    """Of the worst signals, at most twenty."""
    fresh_labels: int | None = None
    """Rows with labels since the last request; null where no labels are read."""
    training_range: TrainingRange
    lineage: Lineage
    """Of the version that is to be replaced."""


class Alert(Outbound):
    """Somebody is to look now."""

    id: str
    dedup_key: str
    """The parent's id where there is one, else the incident's: pass it to paging systems."""
    change: Change
    status: IncidentStatus
    severity: Severity
    model: str
    version: str
    stage: Stage = Stage.PRODUCTION
    family: Family
    owner: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    runbook: str | None = None
    incident_id: str
    parent_id: str | None = None
    """The first incident of those with the same cause, where this is not the first."""
    event_id: str
    tier: Tier
    cause: tuple[str, ...]
    """Its leading signals."""
    summary: str
    time: AwareDatetime


class DigestIncident(Outbound):
    """What became of an incident since the last digest."""

    incident_id: str
    version: str
    stage: Stage
    family: Family
    status: IncidentStatus
    tier: Tier
    """Where it stands."""
    highest: Tier
    opened_at: AwareDatetime | None
    resolved_at: AwareDatetime | None = None
    changes: int
    """Drift events since the last digest."""
    during_maintenance: bool = False
    summary: str


class DigestGroup(Outbound):
    """Incidents of one model with one cause."""

    model: str
    cause: tuple[str, ...]
    parent_id: str | None = None
    """The first incident with this cause, maybe another model's."""
    runbook: str | None = None
    incidents: tuple[DigestIncident, ...]


class Digest(Outbound):
    """What an owner can read in the morning."""

    id: str
    owner: str | None
    time: AwareDatetime
    """By the time of the models in it."""
    summary: str
    groups: tuple[DigestGroup, ...]
    left_out: int = 0
    """Incidents that were too many to be listed."""


# ------------------------------------------------------------------------------------------------------- what is read


class AckStatus(StrEnum):
    """How far a training has come."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RetrainAck(Inbound):
    """A training pipeline's answer to a retrain request."""

    request_id: str = Field(min_length=1, max_length=200)
    model: Name
    status: AckStatus
    version: Name | None = None
    """Of a success: the new version."""
    detail: str | None = Field(default=None, max_length=2_000)
    """Why it failed, where the training runs."""


class MaintenanceNotice(Inbound):
    """Nothing is to follow from drift for a while: a deployment is in progress. A later notice with its id takes its
    place, so that one whose ``until`` is now ends it.
    """

    id: str = Field(min_length=1, max_length=200)
    model: Name
    """Or ``*``: every model."""
    since: AwareDatetime
    until: AwareDatetime
    reason: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _is_a_stretch(self) -> MaintenanceNotice:
        if self.until < self.since:
            raise ValueError("until must not be before since")
        return self


# ----------------------------------------------------------------------- what the response agent tells itself, in order


class _SignalExtract(Inbound):
    signal: str
    segment: str | None = None
    score: float
    evidence: float
    threshold: float


class _LabelExtract(Inbound):
    rows: int


class StatusExtract(Inbound):
    """What counts for responses in a ``ModelStatus``: a status comes every second, and most of it is for people."""

    model: str
    version: str
    stage: Stage
    state: ModelState
    spec_hash: str | None = None
    time: AwareDatetime | None = None
    rows: int
    labels: _LabelExtract | None = None
    signals: tuple[_SignalExtract, ...] = ()
    offsets: tuple[OffsetRange, ...] = ()


class VersionProgress(Outbound):
    """How far a version has come in a stage: an extract of its status."""

    model: str
    version: str
    stage: Stage
    time: AwareDatetime | None
    """Event time of its newest row."""
    rows: int
    labels: int | None = None
    """Rows with labels; null where none are read."""
    challenger_gain: float | None = None
    """By how much challengers surely gain on it, in its loss's unit; null where they surely do not."""
    spec_hash: str
    offsets: tuple[OffsetRange, ...] = ()


class Tick(Outbound):
    """Time passes. Sent by whoever owns the partition, for all models of it."""

    time: AwareDatetime
    """Nominal: the beginning of the interval that the tick stands for."""
