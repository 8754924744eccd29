"""The response agent on a broker: drift events in, retrain requests out, remembered by their own topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from agents.app import DriftlineApp, create_app, running
from agents.metrics import Metrics
from agents.registry import Registry
from agents.responses import Responder
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas import codec
from schemas.model_spec import RetrainingSpec
from schemas.outbound import Change, DriftEvent, IncidentStatus, Tier
from tests.support.drift_events import START, drift_event
from tests.support.produce import produce
from tests.support.profiling import read_all, register
from tests.support.worker import committed, retrain_requests, until, watched


@dataclass(frozen=True, slots=True)
class Running:
    app: DriftlineApp
    metrics: Metrics


@pytest.fixture
async def topics(settings: Settings) -> Settings:
    """The topics are there, and the model of the events is registered."""
    await ensure_topics(settings)
    await register(settings, watched("fraud"), watched("quiet", retraining=RetrainingSpec(enabled=False)))
    return settings


@asynccontextmanager
async def responding(settings: Settings) -> AsyncIterator[Running]:
    metrics = Metrics()
    app = create_app(settings, run_topics=[settings.topic("drift-events")])
    async with Registry(settings, metrics) as registry:
        Responder(app, registry, metrics).attach()
        async with running(app):
            yield Running(app, metrics)


async def tell(settings: Settings, *events: DriftEvent | bytes) -> None:
    """Produce events as the verdict agent does, all to one partition."""
    values = [event if isinstance(event, bytes) else codec.encode(event) for event in events]
    await produce(settings, settings.topic("drift-events"), [(b"fraud", value) for value in values])


async def until_answered(settings: Settings, events: int) -> None:
    """Wait until so many events of the partition are committed."""

    async def answered() -> bool:
        return (await committed(settings, "drift-events")).get(0, 0) >= events

    await until(answered)


async def test_a_significant_incident_has_exactly_one_request_however_many_events_it_has(topics: Settings):
    async with responding(topics) as worker:
        await tell(
            topics,
            drift_event(tier=Tier.MINOR),
            drift_event(hours=1, change=Change.ESCALATED),
            drift_event(hours=2, change=Change.UPDATED),
            drift_event(hours=30, change=Change.UPDATED),
            drift_event(hours=31, change=Change.RESOLVED, status=IncidentStatus.RESOLVED),
        )
        await until_answered(topics, 5)
    (request,) = await retrain_requests(topics)
    assert request.event_id == drift_event(hours=1).id
    assert worker.metrics.value("driftline_retrain_requests_total", model="fraud") == 1


async def test_a_request_is_keyed_by_model_and_carries_cloudevents_attributes(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event())
        await until_answered(topics, 1)
    (record,) = await read_all(topics, "retrain-requests")
    headers = dict(record.headers)
    (request,) = await retrain_requests(topics)
    assert record.key == b"fraud"
    assert headers["ce_type"] == b"io.driftline.retrain.request"
    assert headers["ce_id"] == request.id.encode()


async def test_within_the_cooldown_a_second_incident_is_suppressed_and_asked_for_when_it_is_over(topics: Settings):
    async with responding(topics) as worker:
        await tell(topics, drift_event("i1"), drift_event("i2", hours=2), drift_event("i2", hours=20))
        await until_answered(topics, 3)
        assert [request.incident_id for request in await retrain_requests(topics)] == ["i1"]
        assert worker.metrics.value("driftline_retrain_suppressed_total", model="fraud") == 2
        await tell(topics, drift_event("i2", hours=25, change=Change.UPDATED))
        await until_answered(topics, 4)
    first, second = await retrain_requests(topics)
    assert (second.incident_id, second.time > first.cooldown_until) == ("i2", True)


async def test_a_suppressed_incident_that_is_over_when_the_cooldown_ends_is_never_asked_for(topics: Settings):
    async with responding(topics):
        resolved = drift_event("i2", hours=25, change=Change.RESOLVED, status=IncidentStatus.RESOLVED)
        await tell(topics, drift_event("i1"), drift_event("i2", hours=2), resolved)
        await until_answered(topics, 3)
    assert [request.incident_id for request in await retrain_requests(topics)] == ["i1"]


async def test_after_a_restart_requests_and_cooldowns_are_remembered(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1"))
        await until_answered(topics, 1)
    async with responding(topics):
        await tell(topics, drift_event("i1", hours=40, change=Change.UPDATED), drift_event("i2", hours=3))
        await until_answered(topics, 3)
    assert [request.incident_id for request in await retrain_requests(topics)] == ["i1"]


async def test_events_that_are_read_again_from_the_beginning_make_no_new_request(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1"), drift_event("i2", hours=48))
        await until_answered(topics, 2)
    another_group = topics.model_copy(update={"group": topics.group + "2"})
    async with responding(another_group):
        await until_answered(another_group, 2)
    assert [request.incident_id for request in await retrain_requests(topics)] == ["i1", "i2"]


async def test_a_model_that_wants_no_retraining_is_left_alone(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1", model="quiet"), drift_event("i2"))
        await until_answered(topics, 2)
    assert [request.model for request in await retrain_requests(topics)] == ["fraud"]


async def test_an_event_of_a_version_that_nobody_registered_is_passed_over(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1", version="9"), drift_event("i2"))
        await until_answered(topics, 2)
    assert [request.incident_id for request in await retrain_requests(topics)] == ["i2"]


async def test_a_version_registered_a_moment_before_its_first_event_is_known(topics: Settings):
    async with responding(topics):
        await register(topics, watched("fraud", version="2"))
        await tell(topics, drift_event("i1", version="2"))
        await until_answered(topics, 1)
    assert [request.version for request in await retrain_requests(topics)] == ["2"]


async def test_records_that_are_no_drift_events_are_passed_over(topics: Settings):
    async with responding(topics):
        await tell(topics, b"", b"not json", b'{"model": "fraud"}', drift_event())
        await until_answered(topics, 4)
    assert len(await retrain_requests(topics)) == 1


async def test_an_event_without_a_time_is_taken_at_the_opening_of_its_incident(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event(time=None))
        await until_answered(topics, 1)
    (request,) = await retrain_requests(topics)
    assert request.time == START


async def test_models_are_answered_side_by_side(topics: Settings):
    names = [f"m{number}" for number in range(20)]
    await register(topics, *(watched(name) for name in names))
    async with responding(topics):
        events = [drift_event(f"i{name}", model=name) for name in names]
        await asyncio.gather(
            *(produce(topics, topics.topic("drift-events"), [(None, codec.encode(event))], index % 4)
              for index, event in enumerate(events))
        )  # fmt: skip

        async def all_asked() -> bool:
            return len(await retrain_requests(topics)) == len(names)

        await until(all_asked)
    assert sorted(request.model for request in await retrain_requests(topics)) == sorted(names)
