"""Reading a topic without a group, on both brokers."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aiokafka.structs import ConsumerRecord

from agents.errors import BrokerError
from agents.log_reader import LogReader
from agents.settings import Settings
from tests.support.produce import make_topic, numbered, produce

COMPACT_AT_ONCE = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "100",
    "max.compaction.lag.ms": "200",
}


async def read_all(reader: LogReader) -> list[ConsumerRecord]:
    return [record async for batch in reader.read_to_end() for record in batch]


async def test_reading_to_the_end_gives_every_record_of_every_partition_in_order(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=3)
    for partition in range(3):
        await produce(settings, topic, numbered(5_000, first=partition * 10_000), partition)
    async with LogReader(settings, topic) as reader:
        records = await read_all(reader)
    for partition in range(3):
        numbers = [int(record.value) for record in records if record.partition == partition]
        assert numbers == list(range(partition * 10_000, partition * 10_000 + 5_000))


async def test_an_empty_topic_ends_at_once(settings: Settings) -> None:
    topic = await make_topic(settings, "log")
    async with LogReader(settings, topic) as reader:
        assert await read_all(reader) == []
        assert reader.positions == {0: 0, 1: 0}


async def test_reading_begins_at_a_given_offset_and_only_in_the_partitions_asked_for(settings: Settings) -> None:
    topic = await make_topic(settings, "log")
    await produce(settings, topic, numbered(10), 0)
    await produce(settings, topic, numbered(10), 1)
    async with LogReader(settings, topic, partitions=[1], start={1: 7}) as reader:
        assert [(record.partition, record.offset) for record in await read_all(reader)] == [(1, 7), (1, 8), (1, 9)]


async def test_a_start_beyond_the_end_reads_from_the_beginning(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=1)
    await produce(settings, topic, numbered(3))
    async with LogReader(settings, topic, start={0: 1_000}) as reader:
        assert [record.offset for record in await read_all(reader)] == [0, 1, 2]


async def test_following_goes_on_where_the_end_was(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=1)
    await produce(settings, topic, numbered(3))
    async with LogReader(settings, topic) as reader, asyncio.timeout(30):
        assert len(await read_all(reader)) == 3
        await produce(settings, topic, numbered(2, first=3))
        followed: list[int] = []
        async for batch in reader.follow():
            followed += [int(record.value) for record in batch]
            if len(followed) == 2:
                break
    assert followed == [3, 4]


async def test_the_end_is_reached_when_the_last_records_are_transaction_markers(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=1)
    await produce(settings, topic, numbered(2))
    await produce(settings, topic, numbered(2, first=2), transactional_id=f"{topic}.kept")
    await produce(settings, topic, numbered(2, first=4), transactional_id=f"{topic}.aborted", abort=True)
    async with LogReader(settings, topic) as reader, asyncio.timeout(20):
        assert [int(record.value) for record in await read_all(reader)] == [0, 1, 2, 3]


async def test_tombstones_are_handed_over(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=1, config={"cleanup.policy": "compact"})
    await produce(settings, topic, [(b"a", b"1"), (b"b", b"2"), (b"a", None)])
    async with LogReader(settings, topic) as reader:
        latest = {record.key: record.value for record in await read_all(reader)}
    assert latest == {b"a": None, b"b": b"2"}


async def test_a_topic_that_does_not_exist_is_a_clear_error(settings: Settings) -> None:
    with pytest.raises(BrokerError, match=f"topic {settings.topic('nowhere')} does not exist"):
        await LogReader(settings, settings.topic("nowhere")).start()


@pytest.mark.kafka
@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("broker", ["apache_kafka"], indirect=True)
async def test_a_compacted_topic_is_read_to_its_end_across_the_gaps(settings: Settings) -> None:
    topic = await make_topic(settings, "log", partitions=1, config=COMPACT_AT_ONCE)
    for round_ in range(20):
        changing = [(str(key).encode(), f"{key}:{round_}".encode()) for key in range(49)]
        await produce(settings, topic, [*changing, (f"once-{round_}".encode(), b"")])
        await asyncio.sleep(0.15)  # a segment is closed by the first record after its time
    async with asyncio.timeout(60):
        while True:
            async with LogReader(settings, topic) as reader:
                records = await read_all(reader)
                assert reader.positions == {0: 1_000}
            if len(records) < 500:
                break
            await asyncio.sleep(0.5)
    latest = {record.key: record.value for record in records}
    assert all(latest[str(key).encode()] == f"{key}:19".encode() for key in range(49))
    assert all(f"once-{round_}".encode() in latest for round_ in range(20))
    offsets = [record.offset for record in records]
    assert offsets == sorted(offsets)
    assert any(later - earlier > 1 for earlier, later in itertools.pairwise(offsets))
