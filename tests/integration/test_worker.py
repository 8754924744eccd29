"""The whole worker: predictions in, incidents, retrain requests and status out; started, stopped, ended."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest

from agents.broker import free_port
from agents.settings import Settings
from agents.topics import admin, ensure_topics
from agents.worker import EXIT_CRASHED, EXIT_OPERATOR, running_worker
from detector.layout import Layout
from detector.profile import Profile
from schemas.outbound import Change, IncidentStatus, ModelState, Tier, Urgency
from schemas.profiles import ProfileTotal
from tests.support.kafka import ApacheKafka
from tests.support.produce import make_topic, produce
from tests.support.profiling import last_totals, published, register
from tests.support.worker import (
    EVERY_ROWS,
    STABLE_ROWS,
    committed,
    drift_events,
    predictions,
    retrain_requests,
    start_worker,
    statuses,
    until,
    until_judged,
    watched,
)

SHIFTED_ROWS = 800
ALL_ROWS = STABLE_ROWS + SHIFTED_ROWS
STREAM = predictions(range(STABLE_ROWS)) + predictions(range(STABLE_ROWS, ALL_ROWS), shifted=True)
"""One partition's predictions: as the reference, then shifted."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"publish_every_rows": EVERY_ROWS, "save_interval_s": 0.2, "web_port": 0})


@pytest.fixture
def apache_settings(apache_kafka: ApacheKafka, topic_prefix: str) -> Settings:
    """For what the embedded broker cannot do."""
    return Settings(
        bootstrap_servers=apache_kafka.bootstrap_servers,
        topic_prefix=topic_prefix,
        group=f"{topic_prefix}worker",
        partitions=2,
        web_port=0,
        heartbeat_interval_s=0.5,
        publish_every_rows=EVERY_ROWS,
        save_interval_s=0.2,
    )


async def feed(settings: Settings, numbers: slice = slice(None), partition: int = 0) -> None:
    await produce(settings, settings.topic("predictions"), STREAM[numbers], partition)


async def until_requested(settings: Settings) -> None:
    """Wait for a retrain request."""

    async def requested() -> bool:
        return await retrain_requests(settings) != []

    await until(requested)


async def check_one_incident_and_one_request(settings: Settings) -> None:
    # An event may come twice, but then under the same id.
    events = list({event.id: event for event in await drift_events(settings)}.values())
    assert len({event.incident_id for event in events}) == 1
    assert [event.change for event in events] == [Change.OPENED, Change.ESCALATED]
    assert events[-1].tier is Tier.SIGNIFICANT
    (request,) = await retrain_requests(settings)
    assert request.incident_id == events[0].incident_id
    assert request.event_id in {event.id for event in events}


# ------------------------------------------------------------------------------------------------- end to end


async def test_a_shift_in_the_predictions_is_one_incident_one_retrain_request_and_a_status(settings: Settings):
    async with running_worker(settings):
        await register(settings, watched())
        await feed(settings)
        await until_requested(settings)
        await until_judged(settings, ALL_ROWS)
    await check_one_incident_and_one_request(settings)

    event = (await drift_events(settings))[-1]
    assert event.status is IncidentStatus.FIRING
    assert event.signals[0].signal == "feature:x"
    assert event.since is not None
    (request,) = await retrain_requests(settings)
    assert request.urgency in Urgency
    assert request.signals[0] == "feature:x"
    (training,) = request.training_range.offsets
    assert STABLE_ROWS - 4 * EVERY_ROWS <= training.from_offset < training.to_offset <= ALL_ROWS
    status = (await statuses(settings))["m/1/production"]
    assert (status.state, status.tier, status.rows) == (ModelState.WATCHING, Tier.SIGNIFICANT, ALL_ROWS)
    assert status.incident_id == request.incident_id


async def test_a_stream_that_stays_as_its_reference_raises_nothing(settings: Settings):
    async with running_worker(settings):
        await register(settings, watched())
        await feed(settings, slice(STABLE_ROWS))
        await until_judged(settings, STABLE_ROWS)
    assert await drift_events(settings) == []
    assert await retrain_requests(settings) == []


@pytest.mark.parametrize("stop_at", [STABLE_ROWS // 2, STABLE_ROWS + 3 * EVERY_ROWS], ids=["before", "after"])
async def test_a_worker_stopped_and_started_again_decides_as_one_that_ran_through(settings: Settings, stop_at: int):
    await register_after_topics(settings)
    async with running_worker(settings):
        await feed(settings, slice(stop_at))
        await until_judged(settings, stop_at)
    async with running_worker(settings):
        await feed(settings, slice(stop_at, None))
        await until_judged(settings, ALL_ROWS)
        await until_requested(settings)
    await check_one_incident_and_one_request(settings)


@pytest.mark.kafka
@pytest.mark.integration
async def test_partitions_that_move_to_a_second_worker_and_back_lose_nothing_and_repeat_nothing(
    apache_settings: Settings,
):
    # A member that has to join anew under another id leaves the embedded broker's group waiting for its old one.
    settings = apache_settings
    await register_after_topics(settings)
    async with running_worker(settings) as first, AsyncExitStack() as second_life:
        await first.ready()
        await feed(settings, slice(600))
        await until_judged(settings, 600)
        second = await second_life.enter_async_context(running_worker(settings))
        await second.ready()
        await feed(settings, slice(600, STABLE_ROWS))
        await until_judged(settings, STABLE_ROWS)
        await second_life.aclose()
        await feed(settings, slice(STABLE_ROWS, None))
        await until_judged(settings, ALL_ROWS)
        await until_requested(settings)
    await check_one_incident_and_one_request(settings)


async def register_after_topics(settings: Settings) -> None:
    """Register the model before any worker runs."""
    await ensure_topics(settings)
    await register(settings, watched())


# ------------------------------------------------------------------------------------------------ web endpoints


async def test_a_running_worker_is_healthy_ready_and_shows_its_metrics(settings: Settings):
    async with running_worker(settings) as worker, aiohttp.ClientSession() as web:
        await worker.ready()
        for path in ("/healthz", "/readyz"):
            async with web.get(worker.url + path) as response:
                assert (response.status, await response.text()) == (200, "ok\n")
        async with web.get(worker.url + "/metrics") as response:
            assert "driftline_registry_models 0.0" in await response.text()


async def test_a_running_worker_shows_what_it_has_counted_and_up_to_which_offset(settings: Settings):
    await register_after_topics(settings)
    async with running_worker(settings) as worker, aiohttp.ClientSession() as web:
        await feed(settings, slice(400))
        await until_judged(settings, 400)
        async with web.get(worker.url + "/totals") as response:
            (summary,) = (await response.json())["totals"]
        async with web.get(worker.url + "/totals", params={"model": "m"}) as response:
            (whole,) = (await response.json())["totals"]
        async with web.get(worker.url + "/totals", params={"model": "another"}) as response:
            assert await response.json() == {"totals": []}
    assert (summary["rows"], summary["started_at"], summary["next_offset"], summary["position"]) == (400, 0, 400, 400)
    assert "parts" not in summary
    published_last = last_totals(await published(settings, ProfileTotal))[0]
    assert whole["parts"] == [part.model_dump(mode="json") for part in published_last.parts]


# ------------------------------------------------------------------------------------------------- as a process


async def test_a_process_that_is_told_to_stop_ends_with_0_and_its_successor_loses_nothing(settings: Settings):
    settings = settings.model_copy(update={"publish_every_rows": None})
    await register_after_topics(settings)
    await feed(settings, slice(1_000))
    first = await start_worker(settings)

    async def has_committed_some() -> bool:
        return sum((await committed(settings, "predictions")).values()) >= 200

    await until(has_committed_some)
    feeding = asyncio.create_task(slowly(settings, 1_000))
    await asyncio.sleep(0.3)
    first.send_signal(signal.SIGTERM)
    _, log = await asyncio.wait_for(first.communicate(), 30)
    assert first.returncode == 0, log.decode()

    second = await start_worker(settings)
    await feeding
    await until_judged(settings, ALL_ROWS)
    second.send_signal(signal.SIGINT)
    _, log = await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode == 0, log.decode()
    assert await committed(settings, "predictions") == {0: ALL_ROWS}
    (total,) = last_totals(await published(settings, ProfileTotal)).values()
    assert (total.next_offset, total.rows) == (ALL_ROWS, ALL_ROWS)
    assert sum(rows_of(total)) == ALL_ROWS


async def slowly(settings: Settings, begin: int) -> None:
    for start in range(begin, ALL_ROWS, 100):
        await feed(settings, slice(start, start + 100))
        await asyncio.sleep(0.1)


def rows_of(total: ProfileTotal) -> list[int]:
    layout = Layout(watched())
    return [layout.row_count(vector) for vector in Profile.decode_parts(total.parts, layout.width).parts.values()]


@pytest.mark.kafka
@pytest.mark.integration
async def test_a_broker_that_refuses_totals_ends_the_worker_and_nothing_is_committed(
    apache_settings: Settings,
):
    settings = apache_settings.model_copy(update={"request_timeout_s": 5.0})
    await make_topic(settings, "profiles", 2, {"max.message.bytes": "100", "cleanup.policy": "compact"})
    await register_after_topics(settings)
    worker = await start_worker(settings)
    await feed(settings, slice(100))
    _, log = await asyncio.wait_for(worker.communicate(), 40)
    assert worker.returncode == EXIT_CRASHED, log.decode()
    assert "DeliveryError" in log.decode()
    assert await committed(settings, "predictions") == {}


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.integration
async def test_a_broker_that_falls_silent_ends_the_worker_and_the_next_one_goes_on(
    apache_kafka: ApacheKafka, apache_settings: Settings
):
    settings = apache_settings.model_copy(update={"request_timeout_s": 2.0})
    await register_after_topics(settings)
    worker = await start_worker(settings)
    await feed(settings, slice(STABLE_ROWS))
    await until_judged(settings, STABLE_ROWS)
    os.kill(apache_kafka.pid, signal.SIGSTOP)
    try:
        _, log = await asyncio.wait_for(worker.communicate(), 60)
    finally:
        os.kill(apache_kafka.pid, signal.SIGCONT)
    assert worker.returncode == EXIT_CRASHED, log.decode()
    assert "the worker crashes and is taken down" in log.decode()
    await until_registered(settings)
    async with running_worker(settings):
        await feed(settings, slice(STABLE_ROWS, None))
        await until_judged(settings, ALL_ROWS)
        await until_requested(settings)
    await check_one_incident_and_one_request(settings)


async def until_registered(settings: Settings) -> None:
    """Wait until a node that was frozen is back in its own cluster, from which it was put out for its silence."""
    in_a_row = 0
    async with admin(settings) as client:
        while in_a_row < 5:
            await asyncio.sleep(0.5)
            in_a_row = in_a_row + 1 if (await client.describe_cluster())["brokers"] else 0


async def test_a_topic_with_the_wrong_number_of_partitions_is_one_line_and_exit_code_2(settings: Settings):
    name = await make_topic(settings, "models", 3, {"cleanup.policy": "compact"})
    worker = await start_worker(settings)
    _, log = await asyncio.wait_for(worker.communicate(), 30)
    assert worker.returncode == EXIT_OPERATOR
    (line,) = log.decode().splitlines()
    assert line.startswith(f"driftline: topic {name} has 3 partitions and must have 1")


async def test_a_taken_web_port_is_one_line_and_exit_code_2(settings: Settings):
    async with running_worker(settings) as worker:
        settings = settings.model_copy(update={"web_port": worker.web.port})
        second = await start_worker(settings)
        _, log = await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode == EXIT_OPERATOR
    (line,) = log.decode().splitlines()
    assert f"cannot listen on 127.0.0.1:{worker.web.port}" in line


@pytest.mark.integration
async def test_a_broker_that_is_not_there_is_one_line_and_exit_code_2():
    port = free_port()
    worker = await start_worker(Settings(bootstrap_servers=f"127.0.0.1:{port}", web_port=0))
    _, log = await asyncio.wait_for(worker.communicate(), 30)
    assert worker.returncode == EXIT_OPERATOR
    (line,) = log.decode().splitlines()
    assert line.startswith(f"driftline: no Kafka broker answers at 127.0.0.1:{port}")


@pytest.mark.integration
async def test_a_wrong_setting_is_one_line_and_exit_code_2():
    worker = await start_worker(Settings(), DRIFTLINE_PARTITIONS="many")
    _, log = await asyncio.wait_for(worker.communicate(), 30)
    assert worker.returncode == EXIT_OPERATOR
    (line,) = log.decode().splitlines()
    assert line.startswith("driftline: DRIFTLINE_PARTITIONS=many")
