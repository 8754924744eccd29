"""Runs of records, commits by hand and awaited deliveries, on both brokers."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from agents.app import create_app, running
from agents.errors import DeliveryError
from agents.log_reader import LogReader
from agents.producer import Outgoing
from agents.settings import Settings
from tests.support.collecting import Collector
from tests.support.group import altered, committed
from tests.support.produce import make_topic, numbered, produce
from tests.support.wait import eventually

MIB = 1_048_576


async def test_a_hundred_thousand_records_arrive_in_order_none_missing_none_twice(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(60_000, size=20), 0)
    await produce(settings, topic, numbered(40_000, size=20), 1)
    collector = Collector(settings, topic)
    async with running(collector.app):
        await collector.until(100_000)
    assert collector.given == {0: list(range(60_000)), 1: list(range(40_000))}
    assert collector.longest <= settings.run_max_records


async def test_what_is_committed_by_hand_is_what_the_broker_knows(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(30), 0)
    await produce(settings, topic, numbered(20), 1)
    collector = Collector(settings, topic)
    async with running(collector.app) as app:
        await collector.until(50)
        assert await committed(settings, topic) == {}
        assert await app.consumer.commit_offsets({TP(topic, 0): 17, TP(topic, 1): 20})
        assert await committed(settings, topic) == {0: 17, 1: 20}
        assert await app.consumer.committed(TP(topic, 0)) == {TP(topic, 0): 17}
        assert await app.consumer.end_offsets(TP(topic, 0)) == {TP(topic, 0): 30}
        assert await app.consumer.beginning_offsets(TP(topic, 0)) == {TP(topic, 0): 0}


async def test_nothing_is_committed_that_was_not_committed_by_hand(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(30))
    collector = Collector(settings, topic)
    async with running(collector.app):
        await collector.until(30)
    assert await committed(settings, topic) == {}


async def test_a_restart_reads_on_at_the_committed_offset(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(100))
    first = Collector(settings, topic)
    async with running(first.app) as app:
        await first.until(100)
        assert await app.consumer.commit_offsets({TP(topic, 0): 42})
    second = Collector(settings, topic)
    async with running(second.app):
        await second.until(58)
    assert second.given == {0: list(range(42, 100))}


async def test_a_committed_offset_beyond_the_end_reads_a_topic_made_anew_from_its_beginning(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(10))
    first = Collector(settings, topic)
    async with running(first.app) as app:
        await first.until(10)
        assert await app.consumer.commit_offsets({TP(topic, 0): 1_000})
    second = Collector(settings, topic)
    async with running(second.app):
        await second.until(10)
    assert second.given == {0: list(range(10))}


async def test_a_commit_of_an_old_generation_or_a_foreign_partition_is_refused(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(10))
    collector = Collector(settings, topic)
    async with running(collector.app) as app:
        await collector.until(10)
        generation = app.consumer_generation_id
        assert app.owns(TP(topic, 0), generation)
        assert not app.owns(TP(topic, 0), generation - 1)
        assert not app.owns(TP(topic, 1), generation)
        assert not await app.consumer.commit_offsets({TP(topic, 0): 10}, generation - 1)
        assert not await app.consumer.commit_offsets({TP(topic, 1): 10}, generation)
    assert await committed(settings, topic) == {}


async def test_workers_that_come_and_go_lose_nothing_between_them(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=4)
    first, second = Collector(settings, topic), Collector(settings, topic)

    async def feed() -> None:
        for part in range(20):
            for partition in range(4):
                await produce(settings, topic, numbered(100, first=100 * part), partition)

    async with running(first.app):
        feeding = asyncio.create_task(feed())
        await first.until(1_000)
        await first.commit()
        async with running(second.app):
            await second.until(500)
            assert len(first.app.consumer.owned()) == len(second.app.consumer.owned()) == 2
            await first.commit()
            await second.commit()
        await feeding
        await eventually(lambda: len(first.app.consumer.owned()) == 4)
        await produce(settings, topic, numbered(1, first=2_000), 0)
        await eventually(lambda: all(first.counted[p][-1:] == [1_999 + (p == 0)] for p in range(4)))
    for partition in range(4):
        seen = set(first.counted[partition]) | set(second.counted[partition])
        assert seen == set(range(2_000 + (partition == 0)))


async def test_a_partition_that_comes_back_is_read_again_from_its_committed_offset(settings: Settings) -> None:
    topic = await make_topic(settings, "in")
    await produce(settings, topic, numbered(50), 0)
    await produce(settings, topic, numbered(50), 1)
    first, second = Collector(settings, topic), Collector(settings, topic)
    async with running(first.app) as app:
        await first.until(100)
        assert await app.consumer.commit_offsets({TP(topic, 0): 30, TP(topic, 1): 50})
        async with running(second.app):
            kept = {tp.partition for tp in first.app.consumer.owned()}
        await eventually(lambda: len(first.given[0]) >= 70)
    assert len(kept) == 1
    assert first.given[0][:50] == list(range(50))
    assert first.given[0][50:70] == list(range(30, 50))
    assert set(first.given[0][70:]) <= set(range(30, 50))


async def test_records_of_ten_megabytes_pass_among_small_ones(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1, config={"max.message.bytes": str(16 * MIB)})
    sizes = [10, 10 * MIB, 20, 12 * MIB, 30]
    await produce(altered(settings, max_request_bytes=16 * MIB), topic, [(None, b"x" * size) for size in sizes])
    collector = Collector(settings, topic)
    async with running(collector.app):
        await collector.until(len(sizes))
    assert [len(value or b"") for value in collector.values] == sizes


async def test_a_slow_agent_gets_everything_and_does_not_wait_for_a_pause_to_end(settings: Settings) -> None:
    settings = altered(settings, buffered_runs=4, run_max_records=10)
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(3_000))
    collector = Collector(settings, topic, on_run=lambda _: time.sleep(0.001))
    async with running(collector.app):
        await collector.until(3_000)
    assert collector.given == {0: list(range(3_000))}


async def test_records_of_aborted_transactions_are_left_out(settings: Settings) -> None:
    topic = await make_topic(settings, "in", partitions=1)
    await produce(settings, topic, numbered(5))
    await produce(settings, topic, numbered(5, first=100), transactional_id=f"{topic}.aborted", abort=True)
    await produce(settings, topic, numbered(5, first=5), transactional_id=f"{topic}.kept")
    collector = Collector(settings, topic)
    async with running(collector.app):
        await collector.until(10)
    assert [int(value or b"") for value in collector.values] == list(range(10))


async def test_a_delivery_is_done_when_the_broker_has_acknowledged_it(settings: Settings) -> None:
    topic = await make_topic(settings, "out")
    collector = Collector(settings, await make_topic(settings, "in"))
    async with running(collector.app) as app:
        sent = await app.producer.deliver(
            Outgoing(topic, b"key", str(number).encode(), partition=1, headers=(("ce_type", b"test"),))
            for number in range(100)
        )
        async with LogReader(settings, topic) as reader:
            found = [record async for batch in reader.read_to_end() for record in batch]
    assert [(done.topic_partition, done.offset) for done in sent] == [(TopicPartition(topic, 1), n) for n in range(100)]
    assert [int(record.value) for record in found] == list(range(100))
    assert {record.headers for record in found} == {(("ce_type", b"test"),)}


async def test_a_delivery_that_is_refused_raises(settings: Settings) -> None:
    topic = await make_topic(settings, "out", config={"max.message.bytes": "2000"})
    collector = Collector(settings, await make_topic(settings, "in"))
    async with running(collector.app) as app:
        too_large = Outgoing(topic, None, bytes(settings.max_request_bytes + 1))
        with pytest.raises(DeliveryError, match="refused a record"):
            await app.producer.deliver([too_large])
        await app.producer.deliver([Outgoing(topic, None, b"the next one is not hindered")])


async def test_a_topic_without_runs_gives_single_records_raw_with_tombstones(settings: Settings) -> None:
    topic = await make_topic(settings, "single", partitions=1)
    await produce(settings, topic, [(b"a", b"1"), (b"b", b"\xff\x00"), (b"a", None)])
    app = create_app(settings)
    seen: list[tuple[int, bytes | None, bytes | None]] = []

    async def collect(records: object) -> None:
        async for event in records.events():  # type: ignore[attr-defined]
            message = event.message
            seen.append((message.offset, message.key, event.value))

    app.agent(app.input_topic(topic), name="single")(collect)
    async with running(app):
        await eventually(lambda: len(seen) == 3)
    assert seen == [(0, b"a", b"1"), (1, b"b", b"\xff\x00"), (2, b"a", None)]
