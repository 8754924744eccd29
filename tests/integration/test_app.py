"""How the app starts, stops and fails, in the process and as a process, on both brokers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from faust.types import TP

from agents.app import DriftlineApp, create_app, running
from agents.errors import BrokerError, DeliveryError
from agents.producer import Outgoing
from agents.runs import Run
from agents.settings import Settings
from tests.support.collecting import Collector
from tests.support.group import altered, committed
from tests.support.kafka import ApacheKafka
from tests.support.produce import make_topic, numbered, produce
from tests.support.wait import eventually

only_on_apache_kafka = pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)


@asynccontextmanager
async def process(settings: Settings, *arguments: str) -> AsyncIterator[Process]:
    """Run `tests.support.worker_process`; killed at the end of the block if it still runs."""
    names = ("bootstrap_servers", "group", "topic_prefix", "session_timeout_s", "heartbeat_interval_s")
    environment = os.environ | {f"DRIFTLINE_{name.upper()}": str(getattr(settings, name)) for name in names}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.worker_process", *arguments, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        yield worker
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.communicate()


async def counted(worker: Process, total: int) -> None:
    """Wait until the worker has said that it counted so many."""
    assert worker.stdout is not None
    async with asyncio.timeout(60):
        while int(await worker.stdout.readline() or b"-1") != total:
            assert worker.returncode is None


async def test_sigterm_ends_the_process_in_order_and_it_commits_last(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(500))
    async with process(settings, topic) as worker:
        await counted(worker, 500)
        assert await committed(settings, topic) == {}
        worker.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(worker.communicate(), 30)
    assert worker.returncode == 0, errors.decode()
    assert await committed(settings, topic) == {0: 500}


async def test_a_crash_of_an_agent_ends_the_process_with_an_error(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(1))
    async with process(settings, topic, "crash") as worker:
        _, errors = await asyncio.wait_for(worker.communicate(), 60)
    assert worker.returncode == 1
    assert "ValueError: the agent has a fault" in errors.decode()


async def test_a_crash_of_an_agent_is_raised_where_the_app_runs(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(1))

    def fail(_: Run) -> None:
        raise ValueError("the agent has a fault")

    with pytest.raises(ValueError, match="the agent has a fault"):
        async with running(Collector(settings, topic, on_run=fail).app):
            await asyncio.sleep(60)


async def test_an_error_in_the_block_stops_the_app_and_is_raised(settings: Settings) -> None:
    collector = Collector(settings, await make_topic(settings, "in"))
    with pytest.raises(KeyError, match="of the block"):
        async with running(collector.app):
            raise KeyError("of the block")
    assert collector.app.should_stop


async def test_a_last_commit_that_fails_is_raised_after_everything_was_stopped(settings: Settings) -> None:
    collector = Collector(settings, await make_topic(settings, "in"))

    @collector.app.on_before_shutdown.connect
    async def fail(app: DriftlineApp, **_: object) -> None:
        raise DeliveryError("the last commit")

    with pytest.raises(DeliveryError, match="the last commit"):
        async with running(collector.app):
            pass
    assert collector.app.consumer._thread._thread is not None
    assert not collector.app.consumer._thread._thread.is_alive()
    assert collector.app.producer._producer is None


async def test_what_a_crash_brings_in_its_wake_does_not_hide_it(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(1))

    def fail(_: Run) -> None:
        raise ValueError("the agent has a fault")

    collector = Collector(settings, topic, on_run=fail)

    @collector.app.on_before_shutdown.connect
    async def fail_too(app: DriftlineApp, **_: object) -> None:
        raise DeliveryError("the last commit")

    async def block() -> None:
        async with running(collector.app) as app:
            await eventually(lambda: app.crash_reason is not None)
            raise DeliveryError("the consumer has stopped")

    with pytest.raises(ValueError, match="the agent has a fault"):
        await block()
    assert collector.app.producer._producer is None


async def test_assignment_and_revocation_are_told_with_the_partitions_and_the_generation(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    both = {TP(topic, 0), TP(topic, 1)}
    collector = Collector(settings, topic)
    told: list[tuple[str, set[TP]]] = []
    generations: list[int] = []

    @collector.app.on_partitions_assigned.connect
    async def assigned(app: DriftlineApp, assigned: set[TP], **_: object) -> None:
        told.append(("assigned", set(assigned)))
        generations.append(app.consumer_generation_id)

    @collector.app.on_partitions_revoked.connect
    async def revoked(app: DriftlineApp, revoked: set[TP], **_: object) -> None:
        told.append(("revoked", set(revoked)))
        assert await app.producer.deliver([Outgoing(topic, None, b"0", partition=0)])
        assert not await app.consumer.commit_offsets({TP(topic, 0): 1}, app.consumer_generation_id)

    async with running(collector.app):
        async with running(Collector(settings, topic).app):
            await eventually(lambda: len(told) == 4)
        await eventually(lambda: len(told) == 6)
    (_, first), (_, half) = told[1], told[3]
    assert [name for name, _ in told] == ["revoked", "assigned"] * 3
    assert told[0][1] == set()
    assert first == told[2][1] == told[5][1] == both
    assert half == told[4][1]
    assert len(half) == 1
    assert generations == sorted(set(generations))
    assert await committed(settings, topic) == {}


async def test_an_app_without_a_broker_fails_to_start(settings: Settings) -> None:
    app = create_app(altered(settings, bootstrap_servers="127.0.0.1:1"))
    with pytest.raises(Exception, match="Unable to bootstrap"):
        async with running(app):
            pass


@only_on_apache_kafka
async def test_a_group_that_refuses_the_worker_is_an_error_and_not_silence(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    collector = Collector(altered(settings, session_timeout_s=0.5, heartbeat_interval_s=0.1), topic)
    with pytest.raises(BrokerError, match=r"cannot be joined: InvalidSessionTimeoutError"):
        async with asyncio.timeout(30), running(collector.app):
            await asyncio.sleep(60)


@only_on_apache_kafka
async def test_a_killed_worker_is_followed_by_another_from_what_was_committed(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(100))
    async with process(settings, topic) as killed:
        await counted(killed, 100)
        killed.kill()
    collector = Collector(settings, topic)
    async with running(collector.app):
        await collector.until(100)
    assert collector.given == {0: list(range(100))}


@pytest.mark.integration
@pytest.mark.kafka
@pytest.mark.slow
async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(topic_prefix: str) -> None:
    with ApacheKafka() as kafka:
        settings = Settings(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=topic_prefix, group=topic_prefix)
        topic = await make_topic(settings, "in")
        await produce(settings, topic, numbered(1_000))
        collector = Collector(settings, topic)
        async with running(collector.app) as app:
            await collector.until(1_000)
            assert await app.consumer.commit_offsets({TP(topic, 0): 500})
            kafka.kill()
            await asyncio.to_thread(kafka.resume)
            await produce(settings, topic, numbered(1_000, first=1_000))
            await collector.until(2_000)
            assert await app.consumer.commit_offsets({TP(topic, 0): 2_000})
            assert await app.producer.deliver([Outgoing(topic, None, b"0", partition=1)])
    assert collector.counted[0] == list(range(2_000))
