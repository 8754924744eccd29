"""What a model's responses are fed in tests, and what they decide, in a few words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from detector.responses.cases import Case, shortened
from detector.responses.inputs import Decision, Held, Input, Specs
from detector.responses.model import ModelResponses
from detector.responses.requests import for_incident
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import DriftEvent, Tier
from schemas.policy import PolicySpec, RetrainingSpec
from schemas.responses import (
    AckStatus,
    Alert,
    Digest,
    MaintenanceNotice,
    ResponseEvent,
    RetrainAck,
    RetrainRequest,
    Tick,
    VersionProgress,
)
from tests.support.data import numbers, spec_of
from tests.support.drift_events import START, drift_event, rows

QUIET = PolicySpec(actions={"minor": [], "moderate": [], "significant": ["retrain"]})
"""Nothing but retraining."""
UNANSWERED = {"within": None}
LABELLED: dict[str, Any] = {"prediction": {"output": "score"}, "outcomes": {}, "surrogates": {}}
"""Fields of a spec that has labels and challengers."""


def fraud(version: str = "1", model: str = "fraud", **fields: Any) -> ModelSpec:
    """Return the spec of the model whose events tests make."""
    return spec_of(*numbers("amount"), model=model, version=version, **fields)


def retrained(**fields: Any) -> ModelSpec:
    """Return a spec with nothing but retraining, whose requests end as they are sent unless told."""
    return fraud(policy=QUIET, retraining=RetrainingSpec(**({"answers": UNANSWERED} | fields)), **LABELLED)


def knows(*specs: ModelSpec) -> Specs:
    """A registry of these specs."""
    known = {(spec.model, spec.version): spec for spec in specs}
    return lambda model, version: known.get((model, version))


def tick(hours: float) -> Tick:
    """A tick, so many hours after `START`."""
    return Tick(time=START + timedelta(hours=hours))


def progress(hours: float, labels: int | None = None, version: str = "1", **fields: Any) -> VersionProgress:
    """The model has come as far as these hours, with a row each second and so many labels."""
    usual: dict[str, Any] = {
        "model": "fraud",
        "version": version,
        "stage": Stage.PRODUCTION,
        "time": START + timedelta(hours=hours),
        "rows": int(hours * 3_600),
        "labels": labels,
        "spec_hash": "abc",
        "offsets": (rows(0, int(hours * 3_600)),),
    }
    return VersionProgress(**(usual | fields))


def ack(request: RetrainRequest | str, status: AckStatus, **fields: Any) -> RetrainAck:
    """A training pipeline's answer."""
    request_id = request if isinstance(request, str) else request.id
    return RetrainAck(request_id=request_id, model="fraud", status=status, **fields)


def notice(since: float, until: float, name: str = "n1", model: str = "fraud") -> MaintenanceNotice:
    """Maintenance, from and until so many hours after `START`."""
    return MaintenanceNotice(
        id=name, model=model, since=START + timedelta(hours=since), until=START + timedelta(hours=until)
    )


def hour_of(item: Input, before: float = 0.0) -> float:
    """When an input is read, in seconds since 1970: at its time, or with the one before."""
    time = getattr(item, "time", None)
    return before if time is None else max(before, time.timestamp())


def play(items: Iterable[Input], *specs: ModelSpec, responses: ModelResponses | None = None) -> list[Decision]:
    """Feed inputs, each at its own time; return what is decided."""
    machine = ModelResponses("fraud") if responses is None else responses
    decided: list[Decision] = []
    at = START.timestamp()
    for item in items:
        at = hour_of(item, at)
        decided += machine.take(item, at, knows(*specs))
    return decided


def said(decisions: Iterable[Decision]) -> list[str]:
    """Each decision in a few words."""
    return [_said(decision) for decision in decisions]


def _said(decision: Decision) -> str:
    match decision:
        case Held():
            return f"held: {decision.reason}"
        case RetrainRequest():
            again = f" again {decision.attempt}" if decision.attempt > 1 else ""
            return f"request: {decision.incident_id or decision.trigger}{again}"
        case ResponseEvent():
            return f"{decision.action} {decision.status}"
        case Alert():
            return f"alert: {decision.incident_id} {decision.change}"
        case Digest():
            return "digest: " + " ".join(each.incident_id for group in decision.groups for each in group.incidents)


def requests_in(decisions: Iterable[Decision]) -> list[RetrainRequest]:
    """The retrain requests among them."""
    return [each for each in decisions if isinstance(each, RetrainRequest)]


def request_for(event: DriftEvent, spec: ModelSpec | None = None, *, requests: int = 0) -> RetrainRequest:
    """The request of an incident, made at the time of its event."""
    time = event.time.timestamp() if event.time is not None else START.timestamp()
    drifted = sum(verdict.tier is not Tier.NONE for verdict in event.signals)
    case = Case(shortened(event), time, time, drifted, requests=requests)
    return for_incident(case, spec or fraud(event.version, model=event.model), time, None)


def minor(incident: str = "i1", hours: float = 0.0, **fields: Any) -> DriftEvent:
    """An event of a minor incident."""
    return drift_event(incident, hours, **({"tier": "minor"} | fields))


def over(incident: str = "i1", hours: float = 0.0, **fields: Any) -> DriftEvent:
    """The end of an incident."""
    fields = {"tier": "none", "change": "resolved", "status": "resolved"} | fields
    return drift_event(incident, hours, **fields)
