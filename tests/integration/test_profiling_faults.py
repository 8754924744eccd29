"""What can happen to a profiler: another joins, it is killed, its topic is cut or made anew, a record defeats it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition
from faust.types import TP

from agents.counting import Counting
from agents.errors import DeliveryError
from agents.runs import Run
from agents.settings import Settings
from agents.topics import admin, ensure_topics
from schemas.model_spec import OffsetRange
from schemas.profiles import ProfileTotal
from tests.support.produce import make_topic, produce
from tests.support.profiling import (
    assert_totals_equal_the_input,
    events,
    last_totals,
    letters,
    profiler_process,
    published,
    read_all,
    register,
    registered,
    running_profiler,
)
from tests.support.wait import eventually

only_on_apache_kafka = pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)


@pytest.fixture
async def topic(settings: Settings) -> str:
    """The predictions topic, with a model registered."""
    await ensure_topics(settings)
    await register(settings, registered())
    return settings.topic("predictions")


async def until_published(settings: Settings, rows: int) -> None:
    """Wait until the totals hold so many rows."""
    async with asyncio.timeout(30):
        found = 0
        while found < rows:
            found = sum(total.rows for total in last_totals(await published(settings, ProfileTotal)).values())


async def recreate(settings: Settings, topic: str) -> None:
    async with admin(settings) as client:
        await client.delete_topics([topic])
    async with asyncio.timeout(20):
        while True:
            try:
                await make_topic(settings, "predictions")
            except AssertionError:  # the broker is still deleting
                await asyncio.sleep(0.2)
            else:
                return


async def test_a_record_that_defeats_the_profiler_is_a_letter_and_its_neighbours_are_counted(
    settings: Settings, topic: str
) -> None:
    await produce(settings, topic, events(range(40)), partition=0)
    async with running_profiler(settings) as worker:
        decode = worker.profiler.decoder.decode

        def faulty(run: Run, source: Any) -> Any:
            if run.first_offset <= 17 < run.next_offset:
                raise ZeroDivisionError("a fault put here by the test")
            return decode(run, source)

        worker.profiler.decoder.decode = faulty  # type: ignore[method-assign]
        await worker.until_committed({0: 40})
    assert [(letter.origin.offset, letter.reason) for letter in await letters(settings)] == [(17, "processing_error")]
    assert last_totals(await published(settings, ProfileTotal))[0].rows == 39


async def test_a_publication_that_is_not_acknowledged_ends_the_worker_and_nothing_is_committed(
    settings: Settings, topic: str
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise DeliveryError("not acknowledged, says the test")

    async def run_until_it_crashes() -> None:
        async with running_profiler(settings) as worker:
            worker.app.producer.deliver = refuse  # type: ignore[assignment]
            await produce(settings, topic, events(range(40)), partition=0)
            await asyncio.sleep(30)

    with pytest.raises(DeliveryError, match="says the test"):
        await run_until_it_crashes()
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 40})
        assert worker.metrics.value("driftline_rows_total", model="m", version="1", topic=topic) == 40
    await assert_totals_equal_the_input(settings, registered())


async def test_after_a_publication_that_failed_nothing_more_is_committed(settings: Settings, topic: str) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise DeliveryError("not acknowledged, says the test")

    slow = settings.model_copy(update={"publish_interval_s": 60.0})  # so that only the test flushes
    async with running_profiler(slow) as worker:
        await produce(settings, topic, events(range(40)), partition=0)
        await eventually(lambda: worker.metrics.value("driftline_records_total", topic=topic) == 40)
        worker.app.producer.deliver = refuse  # type: ignore[assignment]
        with pytest.raises(DeliveryError):
            await worker.profiler.flush()
        await worker.profiler.flush()
        assert await worker.app.consumer.committed(TP(topic, 0)) == {TP(topic, 0): None}
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 40})
    await assert_totals_equal_the_input(settings, registered())


@only_on_apache_kafka
async def test_partitions_that_move_between_workers_are_counted_once(settings: Settings, topic: str) -> None:
    counted = 0

    async def feed() -> None:
        nonlocal counted
        while True:
            for partition in (0, 1):
                await produce(settings, topic, events(range(counted, counted + 50)), partition=partition)
            counted += 50

    async with running_profiler(settings) as one:
        feeding = asyncio.create_task(feed())
        async with running_profiler(settings) as two:
            await eventually(lambda: len(one.profiler.ledgers) > 0 and len(two.profiler.ledgers) > 0)
            await asyncio.sleep(2.0)
        await eventually(lambda: len(one.profiler.ledgers) == 8)
        feeding.cancel()
        await asyncio.wait([feeding])
        ends = await one.app.consumer.end_offsets(*(ledger.tp for ledger in one.profiler.ledgers))
        await one.until_committed({tp.partition: end for tp, end in ends.items() if tp.topic == topic})
    await assert_totals_equal_the_input(settings, registered())


@only_on_apache_kafka
async def test_a_worker_killed_again_and_again_counts_every_row_once(settings: Settings, topic: str) -> None:
    settings = settings.model_copy(update={"session_timeout_s": 2.0, "heartbeat_interval_s": 0.3})
    for round_ in range(2):
        await produce(settings, topic, events(range(5_000)), partition=round_)
        async with profiler_process(settings):
            await until_published(settings, 5_000 * round_ + 1)  # and killed somewhere in the middle
            await produce(settings, topic, events(range(3_000)), partition=1)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 5_000, 1: 11_000})
    await assert_totals_equal_the_input(settings, registered())


@only_on_apache_kafka
async def test_offsets_that_retention_took_are_named_and_the_rest_is_counted(settings: Settings, topic: str) -> None:
    await produce(settings, topic, events(range(100)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 100})
    await produce(settings, topic, events(range(100)), partition=0)
    async with admin(settings) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=130)})
    await produce(settings, topic, events(range(10)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 210})
        lost = worker.metrics.value("driftline_uncounted_offsets_total", topic=topic, partition="0")
    assert lost == 30
    total = last_totals(await published(settings, ProfileTotal))[0]
    assert (total.rows, total.next_offset) == (180, 210)
    assert total.uncounted == (OffsetRange(topic=topic, partition=0, from_offset=100, to_offset=130),)


@only_on_apache_kafka
async def test_a_topic_made_anew_while_the_worker_was_down_is_counted_from_its_beginning(
    settings: Settings, topic: str
) -> None:
    await produce(settings, topic, events(range(100)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 100})
    await recreate(settings, topic)
    await produce(settings, topic, events(range(30)), partition=0)
    async with running_profiler(settings) as worker:
        await eventually(lambda: worker.metrics.value("driftline_records_total", topic=topic) == 30)
    total = last_totals(await published(settings, ProfileTotal))[0]
    assert (total.incarnation, total.started_at, total.next_offset, total.rows) == (1, 0, 30, 30)


async def test_records_from_below_the_position_of_a_topic_that_now_ends_below_it_are_of_a_new_topic(
    settings: Settings, topic: str
) -> None:
    await produce(settings, topic, events(range(30)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 30})
        (ledger,) = (each for each in worker.profiler.ledgers if each.tp == TP(topic, 0))
        counting = ledger.versions["m", "1"]
        assert isinstance(counting, Counting)
        # as if the topic had been longer before it was made anew between two fetches
        ledger.position = counting.total.next_offset = 1_000
        counting.changed = True
        records = [record for record in await read_all(settings, "predictions") if record.partition == 0]
        await worker.profiler.count(Run(topic, 0, records), ledger.generation)
        await eventually(
            lambda: worker.metrics.value("driftline_rows_total", model="m", version="1", topic=topic) == 60
        )
    total = last_totals(await published(settings, ProfileTotal))[0]
    assert (total.incarnation, total.started_at, total.next_offset, total.rows) == (1, 0, 30, 30)
