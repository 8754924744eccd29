"""A reference from the first rows of the stream: every row is baseline or counted, never both, never neither."""

from __future__ import annotations

import asyncio

from agents.registry import Registry
from agents.settings import Settings
from agents.topics import ensure_topics
from detector.baseline import BaselineCollector
from schemas.model_spec import ModelSpec, OffsetRange
from schemas.profiles import BaselineRows, ProfileTotal
from tests.support.produce import produce
from tests.support.profiling import (
    Running,
    draft,
    events,
    last_totals,
    numbers_in,
    published,
    register,
    remaining_keys,
    running_profiler,
)
from tests.support.wait import eventually

ROWS = 200
"""Rows of the reference."""


async def freeze(settings: Settings, spec: ModelSpec) -> ModelSpec:
    """Collect the reference from what was forwarded and register it, as the verdict agent does."""
    async with Registry(settings) as registry:
        collector = BaselineCollector(spec)
        async with asyncio.timeout(20):
            while not collector.complete:
                collector = BaselineCollector(spec)
                for rows in await published(settings, BaselineRows):
                    collector.add(rows)
        return (await registry.publish(collector.freeze())).spec


def baseline_of(spec: ModelSpec) -> dict[int, OffsetRange]:
    """What is baseline, by partition."""
    assert spec.reference.frozen is not None
    return {each.partition: each for each in spec.reference.frozen.offsets}


async def assert_each_row_is_baseline_or_counted(settings: Settings, spec: ModelSpec) -> None:
    """Totals begin where the baseline ends, and have the rest of the input."""
    totals = last_totals(await published(settings, ProfileTotal))
    baseline = baseline_of(spec)
    for partition, values in (await numbers_in(settings, "predictions")).items():
        ends = baseline[partition].to_offset if partition in baseline else 0
        assert totals[partition].started_at == ends
        assert ends + totals[partition].rows == values.total()


async def until_counting(worker: Running, totals: int) -> None:
    """Wait until so many totals were published."""
    await eventually(lambda: sum(len(ledger.saved) for ledger in worker.profiler.ledgers) >= totals, 20.0)


async def test_rows_behind_the_baseline_are_counted_although_the_agent_had_moved_on(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, draft(rows=ROWS))
    topic = settings.topic("predictions")
    await produce(settings, topic, events(range(900)), partition=0)
    await produce(settings, topic, events(range(50)), partition=1)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 900, 1: 50})
        spec = await freeze(settings, draft(rows=ROWS))
        await until_counting(worker, 2)  # although nothing more comes
    await assert_each_row_is_baseline_or_counted(settings, spec)
    assert not [key for key in await remaining_keys(settings) if "/baseline/" in key]


async def test_a_partition_forwards_no_more_rows_than_the_reference_needs(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, draft(rows=ROWS))
    await produce(settings, settings.topic("predictions"), events(range(900)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 900})
    forwarded = await published(settings, BaselineRows)
    assert [offset for rows in forwarded for offset in rows.offsets] == list(range(ROWS))


async def test_restarts_while_the_reference_is_collected_forward_each_row_once(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, draft(rows=ROWS))
    topic = settings.topic("predictions")
    for start in range(0, 150, 50):
        await produce(settings, topic, events(range(start, start + 50)), partition=0)
        async with running_profiler(settings) as worker:
            await worker.until_committed({0: start + 50})
    forwarded = await published(settings, BaselineRows)
    assert [offset for rows in forwarded for offset in rows.offsets] == list(range(150))


async def test_a_reference_frozen_while_the_worker_was_down_is_caught_up_with(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, draft(rows=ROWS))
    topic = settings.topic("predictions")
    await produce(settings, topic, events(range(500)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 500})
    spec = await freeze(settings, draft(rows=ROWS))
    await produce(settings, topic, events(range(500, 600)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 600})
        await until_counting(worker, 1)
    await assert_each_row_is_baseline_or_counted(settings, spec)


async def test_catching_up_cuts_totals_at_the_same_rows_as_counting_at_once(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, draft(rows=ROWS))
    settings = settings.model_copy(update={"publish_every_rows": 100})
    await produce(settings, settings.topic("predictions"), events(range(650)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 650})
        await freeze(settings, draft(rows=ROWS))
        await until_counting(worker, 1)
    totals = await published(settings, ProfileTotal)
    assert [(total.next_offset, total.rows) for total in totals] == [(300, 100), (400, 200), (500, 300), (600, 400)]


async def test_a_model_registers_itself_and_all_its_rows_are_baseline_or_counted(settings: Settings) -> None:
    await ensure_topics(settings)
    settings = settings.model_copy(update={"auto_register": True, "baseline_rows": ROWS})
    topic = settings.topic("predictions")
    async with running_profiler(settings) as worker:
        for start in range(0, 400, 40):
            await produce(settings, topic, events(range(start, start + 40)), partition=start // 40 % 2)
        await worker.until_committed({0: 200, 1: 200})
        registration = worker.profiler.registry.lookup("m", "1")
        assert registration is not None
        spec = await freeze(settings, registration.spec)
        await until_counting(worker, 2)
    assert {feature.name: feature.type.value for feature in spec.features} == {"x": "number", "plan": "category"}
    await assert_each_row_is_baseline_or_counted(settings, spec)
