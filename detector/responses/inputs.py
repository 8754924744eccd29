"""What responses are decided from, and what is decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.model_spec import CONCEPT, ModelSpec
from schemas.outbound import DriftEvent, ModelState, ModelStatus, Severity, Tier
from schemas.responses import (
    Alert,
    Digest,
    MaintenanceNotice,
    ResponseEvent,
    RetrainAck,
    RetrainRequest,
    StatusExtract,
    Tick,
    VersionProgress,
)

Input = DriftEvent | RetrainAck | MaintenanceNotice | VersionProgress | Tick

Specs = Callable[[str, str], ModelSpec | None]
"""The spec of a model (first) and version (second); None where nobody knows it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A retrain request is due and has to wait: nobody is told, it is logged and counted."""

    model: str
    version: str
    reason: str
    """One of `HELD_BY`."""
    until: datetime | None
    """Where it is known."""
    incident_id: str | None


Sent = ResponseEvent | RetrainRequest | Alert | Digest
"""Decisions that somebody is told."""
Decision = Sent | Held

HELD_BY: Final = ("maintenance", "blackout", "running", "cooldown", "budget", "labels")

SEVERITIES: Final = {
    Tier.NONE: Severity.INFO,
    Tier.MINOR: Severity.INFO,
    Tier.MODERATE: Severity.WARNING,
    Tier.SIGNIFICANT: Severity.CRITICAL,
}


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def time_of(event: DriftEvent) -> float | None:
    """Event time of a drift event, in seconds since 1970; None in a file without times."""
    known = event.time or event.opened_at
    return None if known is None else known.timestamp()


def progress_of(status: ModelStatus | StatusExtract) -> VersionProgress | None:
    """Extract what responses are decided from; None of a version that is not judged yet."""
    if status.state is not ModelState.WATCHING or status.spec_hash is None:
        return None
    gains = [
        signal.score
        for signal in status.signals
        if signal.signal == CONCEPT and signal.segment is None and signal.evidence >= signal.threshold
    ]
    return VersionProgress(
        model=status.model,
        version=status.version,
        stage=status.stage,
        time=status.time,
        rows=status.rows,
        labels=None if status.labels is None else status.labels.rows,
        challenger_gain=gains[0] if gains else None,
        spec_hash=status.spec_hash,
        offsets=status.offsets,
    )
