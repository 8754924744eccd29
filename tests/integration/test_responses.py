"""The response agent on a broker: events, answers and notices in, responses, requests, alerts and digests out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from agents.app import DriftlineApp, create_app, running
from agents.errors import DeliveryError
from agents.failpoints import VARIABLE, Place, arm
from agents.log_reader import LogReader
from agents.metrics import Metrics
from agents.registry import Registry
from agents.responses import SOURCES, Responder
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas import codec
from schemas.model_spec import ModelSpec, RetrainingSpec
from schemas.outbound import Change, ModelState, ModelStatus, Tier
from schemas.policy import PolicySpec
from schemas.responses import AckStatus, Alert, Digest, ResponseEvent, RetrainAck, RetrainRequest
from schemas.topics import topic_of
from tests.support.drift_events import START, drift_event, rows
from tests.support.produce import Headed, produce
from tests.support.profiling import read_all, register
from tests.support.responses import notice, over
from tests.support.worker import committed, retrain_requests, until, watched

UNANSWERED = RetrainingSpec(answers={"within": None})


@dataclass(frozen=True, slots=True)
class Running:
    app: DriftlineApp
    metrics: Metrics


def fraud(**fields: Any) -> ModelSpec:
    """The model of the events; nobody answers its requests unless told."""
    return watched("fraud", **({"retraining": UNANSWERED} | fields))


@pytest.fixture
async def topics(settings: Settings) -> Settings:
    """The topics are there, and the model of the events is registered."""
    await ensure_topics(settings)
    await register(settings, fraud(), watched("quiet", retraining=RetrainingSpec(enabled=False)))
    return settings


@asynccontextmanager
async def responding(settings: Settings) -> AsyncIterator[Running]:
    metrics = Metrics()
    app = create_app(settings, run_topics=[settings.topic(name) for name in SOURCES])
    async with Registry(settings, metrics) as registry:
        Responder(app, registry, metrics).attach()
        async with running(app):
            yield Running(app, metrics)


async def tell(settings: Settings, *events: BaseModel | bytes, topic: str = "drift-events") -> None:
    """Produce events, all to one partition, and wait until what they ask for is decided."""
    values = [event if isinstance(event, bytes) else codec.encode(event) for event in events]
    last = (await produce(settings, settings.topic(topic), [(b"fraud", value) for value in values]))[-1]

    async def forwarded() -> bool:
        return (await committed(settings, topic)).get(0, 0) > last

    async def decided() -> bool:
        return (await committed(settings, "response-inputs")).get(0, 0) >= end

    await until(forwarded)
    async with LogReader(settings, settings.topic("response-inputs")) as reader:
        end = reader.positions[0] + await reader.lag()
    await until(decided)


async def sent(settings: Settings, kind: type[codec.AnyEvent]) -> list[codec.AnyEvent]:
    """All that was sent of a kind."""
    return [
        codec.decode(kind, record.value or b"") for record in await read_all(settings, topic_of(kind.__name__).name)
    ]


async def asked_for(settings: Settings) -> list[str | None]:
    return [request.incident_id for request in await retrain_requests(settings)]


async def test_an_incident_has_one_request_and_one_alert_however_many_events_it_has(topics: Settings):
    async with responding(topics) as worker:
        await tell(
            topics,
            b"", b"not json", b'{"model": "fraud"}',
            drift_event(tier=Tier.MINOR),
            drift_event(hours=1, change=Change.ESCALATED),
            drift_event("i9", version="9"),
            drift_event("i3", model="quiet"),
            drift_event(hours=2, change=Change.UPDATED),
            drift_event(hours=30, change=Change.UPDATED),
            over(hours=31),
        )  # fmt: skip
    (request,) = await retrain_requests(topics)
    assert request.event_id == drift_event(hours=1).id
    assert worker.metrics.value("driftline_retrain_requests_total", model="fraud") == 1
    responses = [each for each in await sent(topics, ResponseEvent) if each.model == "fraud"]
    assert [(each.action, each.status) for each in responses] == [
        ("investigate", "started"),
        ("enhanced_monitoring", "started"),
        ("enhanced_monitoring", "ended"),
    ]
    alerts = [each.change for each in await sent(topics, Alert) if each.model == "fraud"]
    assert alerts == [Change.OPENED, Change.RESOLVED]


async def test_a_request_is_keyed_by_model_and_carries_cloudevents_attributes(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event())
    (record,) = await read_all(topics, "retrain-requests")
    headers = dict(record.headers)
    (request,) = await retrain_requests(topics)
    assert record.key == b"fraud"
    assert headers["ce_type"] == b"io.driftline.retrain.request"
    assert headers["ce_id"] == request.id.encode()


async def test_after_a_restart_requests_and_cooldowns_are_remembered(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1"), over("i1", hours=1))
    async with responding(topics) as worker:
        await tell(topics, drift_event("i1", hours=2, change=Change.REOPENED), drift_event("i2", hours=3))
        assert await asked_for(topics) == ["i1"]
        waited = {"model": "fraud", "reason": "cooldown"}
        assert worker.metrics.value("driftline_retrain_suppressed_total", **waited) == 1
        await tell(topics, drift_event("i2", hours=25, change=Change.UPDATED))
    assert await asked_for(topics) == ["i1", "i2"]


async def test_events_that_are_read_again_from_the_beginning_decide_nothing_anew(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1"), drift_event("i2", hours=48))
    another_group = topics.model_copy(update={"group": topics.group + "2"})
    before = {kind: len(await sent(topics, kind)) for kind in (RetrainRequest, ResponseEvent, Alert)}
    async with responding(another_group):
        await tell(another_group, drift_event("i2", hours=49))
    assert {kind: len(await sent(topics, kind)) for kind in before} == before


async def until_it_crashes(settings: Settings) -> None:
    async with responding(settings):
        for number in range(4):
            await tell(settings, drift_event(f"i{number}", hours=30.0 * number))


@pytest.mark.parametrize("place", [Place.RESPONSES_SENT, Place.RESPONSES_SAVED])
async def test_a_crash_in_between_loses_nothing_and_repeats_ids(topics: Settings, place: Place):
    arm({VARIABLE: f"{place}=raise:2"})
    try:
        with pytest.raises(DeliveryError):
            await until_it_crashes(topics)
    finally:
        arm({})
    async with responding(topics):
        await tell(topics, *(drift_event(f"i{number}", hours=30.0 * number) for number in range(4)))
    requests = await retrain_requests(topics)
    assert list(dict.fromkeys(request.incident_id for request in requests)) == ["i0", "i1", "i2", "i3"]
    assert len({request.id for request in requests}) == 4
    investigations = Counter(each.incident_id for each in await sent(topics, ResponseEvent) if each.status == "started")
    assert set(investigations) == {"i0", "i1", "i2", "i3"}


async def test_a_damaged_state_is_rebuilt_from_the_log(topics: Settings):
    async with responding(topics):
        await tell(topics, drift_event("i1"), over("i1", hours=1))
    states = {record.key: record for record in await read_all(topics, "response-states")}
    (saved,) = [record for key, record in states.items() if key is not None and key.startswith(b"fraud@")]
    forged = Headed(saved.key, (saved.value or b"")[:-1] + b"?", list(saved.headers))
    await produce(topics, topics.topic("response-states"), [forged])
    async with responding(topics) as worker:
        await tell(topics, drift_event("i1", hours=2, change=Change.REOPENED), drift_event("i2", hours=3))
    assert await asked_for(topics) == ["i1"]
    damaged = worker.metrics.value("driftline_damaged_records_total", topic=topics.topic("response-states"))
    assert damaged == 1
    waited = {"model": "fraud", "reason": "cooldown"}
    assert worker.metrics.value("driftline_retrain_suppressed_total", **waited) == 1


async def test_the_answers_of_a_pipeline_close_the_loop(settings: Settings):
    await ensure_topics(settings)
    await register(settings, fraud(retraining=RetrainingSpec()))
    async with responding(settings):
        await tell(settings, drift_event())
        (request,) = await retrain_requests(settings)
        answer = RetrainAck(request_id=request.id, model="fraud", status=AckStatus.SUCCEEDED, version="2")
        await tell(settings, b"{}", answer.model_copy(update={"status": AckStatus.STARTED}), topic="retrain-acks")
        await tell(settings, answer, answer, topic="retrain-acks")
    ended = [each for each in await sent(settings, ResponseEvent) if each.request_id == request.id]
    assert [(each.status, each.new_version) for each in ended] == [("started", None), ("succeeded", "2")]


async def test_a_notice_for_every_model_holds_everything_back_until_it_is_over(topics: Settings):
    async with responding(topics):
        await tell(topics, notice(-1, 5, model="*"), topic="maintenance")
        await tell(topics, drift_event())
        assert not await asked_for(topics)
        assert not await sent(topics, ResponseEvent)
        await tell(topics, drift_event(hours=6, change=Change.UPDATED))
    assert await asked_for(topics) == ["i1"]


async def test_the_progress_of_versions_moves_time_on_and_brings_scheduled_requests(settings: Settings):
    await ensure_topics(settings)
    await register(settings, fraud(retraining=RetrainingSpec(scheduled={"cron": "0 18 * * *"})))

    def status(hours: float) -> ModelStatus:
        time = drift_event(hours=hours).time
        number = int(hours * 100)
        return ModelStatus(model="fraud", version="1", state=ModelState.WATCHING, spec_hash="abc", rows=number,
                           time=time, offsets=(rows(0, number),))  # fmt: skip

    async with responding(settings):
        await produce(settings, settings.topic("model-status"), [(b"fraud", codec.encode(status(1)))])
        await until(asynchronously(lambda: read_all(settings, "response-states")))
        await produce(settings, settings.topic("model-status"), [(b"fraud", codec.encode(status(7)))])
        await until(asynchronously(lambda: retrain_requests(settings)))
    (request,) = await retrain_requests(settings)
    assert (request.trigger, request.incident_id) == ("schedule", None)
    assert request.training_range.offsets == (rows(0, 700),)


async def test_small_drift_is_told_in_a_digest_at_its_hour(settings: Settings):
    await ensure_topics(settings)
    policy = PolicySpec(alerts={"digest": "0 18 * * *"})
    await register(settings, fraud(policy=policy, owner="payments"), watched("other", policy=policy, owner="payments"))
    async with responding(settings):
        await tell(
            settings,
            drift_event("i1", tier=Tier.MINOR),
            drift_event("i2", hours=0.5, tier=Tier.MINOR, model="other"),
            over("i1", hours=2),
            drift_event("i2", hours=7, tier=Tier.MODERATE, model="other"),
        )
    (digest,) = await sent(settings, Digest)
    assert not await sent(settings, Alert)
    assert {each.incident_id for group in digest.groups for each in group.incidents} == {"i1", "i2"}
    assert {group.parent_id for group in digest.groups} == {None, "i1"}
    (record,) = await read_all(settings, "digests")
    assert (record.key, digest.time) == (b"payments", START.replace(hour=18))


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


def asynchronously(look: Callable[[], Awaitable[Iterable[Any]]]) -> Callable[[], Awaitable[bool]]:
    """Whether something is found."""

    async def found() -> bool:
        return bool([*await look()])

    return found
