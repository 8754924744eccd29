"""Drift events as a test wants them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.model_spec import OffsetRange
from schemas.outbound import (
    Change,
    DriftEvent,
    DriftKind,
    IncidentStatus,
    Lineage,
    Response,
    Severity,
    SignalVerdict,
    Tier,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When the incidents of tests begin."""


def verdict(signal: str = "feature:amount", **fields: Any) -> SignalVerdict:
    """Return the verdict on a signal that has drifted significantly."""
    usual: dict[str, Any] = {
        "signal": signal,
        "kind": DriftKind.DATA,
        "tier": Tier.SIGNIFICANT,
        "score": 0.4,
        "evidence": 18.0,
        "threshold": 15.0,
        "rows": 640.0,
    }
    return SignalVerdict(**(usual | fields))


def drift_event(incident: str = "i1", hours: float = 0.0, **fields: Any) -> DriftEvent:
    """Return an event of an incident, so many hours of event time after `START`; significant and open unless told."""
    time = START + timedelta(hours=hours)
    usual: dict[str, Any] = {
        "id": f"{incident}/{hours:g}",
        "change": Change.OPENED,
        "status": IncidentStatus.FIRING,
        "severity": Severity.CRITICAL,
        "model": "fraud",
        "version": "1",
        "incident_id": incident,
        "dedup_key": incident,
        "tier": Tier.SIGNIFICANT,
        "previous_tier": Tier.NONE,
        "response": Response.RETRAIN,
        "summary": "The amounts have doubled.",
        "time": time,
        "opened_at": time,
        "since": time - timedelta(minutes=30),
        "since_offsets": (rows(100, 180),),
        "signals": (verdict(),),
        "signals_watched": 3,
        "lineage": Lineage(spec_hash="abc", driftline="0.1.0", offsets=(rows(0, 200), rows(0, 90, 1)), steps=()),
    }
    return DriftEvent(**(usual | fields))


def rows(from_offset: int, to_offset: int, partition: int = 0) -> OffsetRange:
    """Return a range of offsets of the prediction topic."""
    return OffsetRange(topic="driftline.predictions", partition=partition, from_offset=from_offset, to_offset=to_offset)
