"""What has happened to a model is read from the topics, in order."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.history import Kind, history
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas import codec
from schemas.export import example
from schemas.outbound import Change, IncidentStatus
from schemas.responses import ResponseEvent, ResponseStatus, RetrainRequest
from schemas.tiers import Response
from tests.support.cli import driftline
from tests.support.drift_events import drift_event
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.worker import watched

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("embedded_broker", marks=pytest.mark.integration)], indirect=True
)


async def test_versions_incidents_and_requests_are_told_once_and_in_order(settings: Settings) -> None:
    await ensure_topics(settings)
    first = watched("fraud")
    collecting = watched("fraud", "2").model_copy(
        update={"reference": first.reference.model_copy(update={"frozen": None})}
    )
    frozen = watched("fraud", "2").reference.frozen
    assert frozen is not None
    reference = collecting.reference.model_copy(
        update={"frozen": frozen.model_copy(update={"declared": collecting.hash})}
    )
    await register(settings, first, watched("other"))
    events = [drift_event(), drift_event(), drift_event("i2", model="other")]
    request = RetrainRequest.model_validate_json(example("RetrainRequest")).model_copy(update={"model": "fraud"})
    response = ResponseEvent.model_validate_json(example("ResponseEvent")).model_copy(
        update={"model": "fraud", "action": Response.ENHANCED_MONITORING, "status": ResponseStatus.STARTED}
    )
    investigation = response.model_copy(update={"id": "other", "action": Response.INVESTIGATE})
    told = {"drift-events": events, "responses": [response, investigation, response],
            "retrain-requests": [request, request, request.model_copy(update={"attempt": 2})]}  # fmt: skip
    for topic, sent in told.items():
        await produce(settings, settings.topic(topic), [(None, codec.encode(event)) for event in sent])
        await asyncio.sleep(0.002)  # the order is that of the records' timestamps, in milliseconds
    await register(settings, collecting, collecting.model_copy(update={"reference": reference}))
    other = first.model_copy(update={"owner": "somebody else"})
    await produce(settings, settings.topic("models"), [(f"fraud/1/{other.hash}".encode(), codec.encode(other))])
    resolved = drift_event(hours=2, change=Change.RESOLVED, status=IncidentStatus.RESOLVED)
    await produce(
        settings, settings.topic("drift-events"), [(None, codec.encode(resolved)), (None, b"not an event")], 1
    )

    answer = {"request_id": request.id, "model": "fraud", "status": "succeeded", "version": "2", "detail": "AUC 0.8"}
    answers = [answer, answer, {**answer, "model": "other"}, ["no answer"]]
    await produce(settings, settings.topic("retrain-acks"), [(None, json.dumps(each).encode()) for each in answers])

    entries = await history(settings, "fraud")
    assert [(entry.version, entry.kind) for entry in entries] == [
        ("1", Kind.REGISTERED),
        ("1", "opened"),
        (response.version, "enhanced monitoring started"),
        ("1", Kind.REQUESTED),
        ("1", Kind.REQUESTED),
        ("2", Kind.REGISTERED),
        ("2", Kind.REFERENCE),
        ("1", Kind.REFUSED),
        ("1", "resolved"),
        ("2", "training succeeded"),
    ]
    assert entries[0].facts["reference_hash"] == first.reference.frozen.hash  # type: ignore[union-attr]
    assert entries[1].facts["incident_id"] == "i1"
    assert entries[6].facts["reference_rows"] == frozen.rows


async def test_the_command_prints_a_line_of_json_for_each_and_fails_for_a_model_that_nobody_knows(
    settings: Settings,
) -> None:
    await ensure_topics(settings)
    await register(settings, watched("fraud"))
    code, output = await driftline(settings, "models", "history", "fraud", "--json")
    assert (code, json.loads(output)["kind"]) == (0, "registered")
    code, output = await driftline(settings, "models", "history", "fraud")
    assert (code, "reference of 2,000 rows" in output) == (0, True)
    code, output = await driftline(settings, "models", "history", "ham")
    assert (code, "nothing is known of a model ham" in output) == (1, True)
