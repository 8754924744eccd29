"""The profiling agents on a broker: every record counted once, whatever happens."""

from __future__ import annotations

from agents.settings import Settings
from agents.topics import ensure_topics
from schemas.profiles import ProfileTotal, UnregisteredRows
from tests.support.produce import produce
from tests.support.profiling import (
    assert_totals_equal_the_input,
    events,
    last_totals,
    letters,
    published,
    register,
    registered,
    remaining_keys,
    running_profiler,
)
from tests.support.wait import eventually


async def test_the_totals_are_those_of_the_input(settings: Settings) -> None:
    async with running_profiler(settings) as worker:
        await register(settings, registered())
        topic = settings.topic("predictions")
        await produce(settings, topic, events(range(700)), partition=0)
        await produce(settings, topic, events(range(50)), partition=1)
        await worker.until_committed({0: 700, 1: 50})
        await assert_totals_equal_the_input(settings, registered())
    totals = last_totals(await published(settings, ProfileTotal))
    assert {partition: total.next_offset for partition, total in totals.items()} == {0: 700, 1: 50}


async def test_a_stop_and_restart_at_arbitrary_places_loses_nothing_and_counts_nothing_twice(
    settings: Settings,
) -> None:
    await register_first(settings)
    topic = settings.topic("predictions")
    for start in range(0, 4_000, 1_000):
        await produce(settings, topic, events(range(start, start + 1_000)), partition=0)
        async with running_profiler(settings) as worker:
            await eventually(lambda: worker.metrics.value("driftline_records_total", topic=topic) > 0)
            await produce(settings, topic, events(range(300)), partition=1)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 4_000, 1: 1_200})
    await assert_totals_equal_the_input(settings, registered())


async def test_what_was_published_but_not_committed_is_not_counted_again(settings: Settings) -> None:
    await register_first(settings)
    topic = settings.topic("predictions")
    await produce(settings, topic, events(range(500)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 500})
    again = settings.model_copy(update={"group": settings.group + "-anew"})  # a group that has committed nothing
    async with running_profiler(again) as worker:
        await worker.until_committed({0: 500})
        assert worker.metrics.value("driftline_rows_total", model="m", version="1", topic=topic) == 0
    await produce(settings, topic, events(range(5)), partition=0)
    async with running_profiler(again) as worker:
        await worker.until_committed({0: 505})
    await assert_totals_equal_the_input(settings, registered())


async def test_bad_records_become_letters_and_the_good_ones_beside_them_are_counted(settings: Settings) -> None:
    await register_first(settings)
    topic = settings.topic("predictions")
    bad = [None, b"", b"{", b"[]", b'{"model": "m"}', b"\xff\xfe", b'{"model":"m","version":"1","stage":"moon"}']
    records = events(range(20))
    for place, value in enumerate(bad):
        records.insert(place * 3, (b"key", value))  # type: ignore[arg-type]
    await produce(settings, topic, records, partition=1)
    async with running_profiler(settings) as worker:
        await worker.until_committed({1: len(records)})
    found = await letters(settings)
    assert [letter.origin.offset for letter in found] == [place * 3 for place in range(len(bad))]
    assert {letter.id for letter in found} == {f"{topic}/1/{place * 3}" for place in range(len(bad))}
    await assert_totals_equal_the_input(settings, registered())


async def test_totals_are_cut_at_exactly_every_k_rows_and_all_cuts_are_published(settings: Settings) -> None:
    await register_first(settings)
    settings = settings.model_copy(update={"publish_every_rows": 100})
    topic = settings.topic("predictions")
    await produce(settings, topic, events(range(250)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 200})
    await produce(settings, topic, events(range(250, 520)), partition=0)
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 500})
    totals = await published(settings, ProfileTotal)
    assert [(total.next_offset, total.rows) for total in totals] == [(k, k) for k in range(100, 501, 100)]


async def test_rows_produced_right_after_registration_are_counted(settings: Settings) -> None:
    topic = settings.topic("predictions")
    async with running_profiler(settings) as worker:
        for version in ("1", "2", "3"):
            await register(settings, registered(version=version))
            await produce(settings, topic, events(range(10), version=version), partition=0)
        await worker.until_committed({0: 30})
    totals = await published(settings, ProfileTotal)
    assert {version: last_totals(totals, version=version)[0].rows for version in ("1", "2", "3")} == dict.fromkeys(
        ("1", "2", "3"), 10
    )


async def test_strangers_are_counted_and_reported_and_their_count_goes_once_they_are_registered(
    settings: Settings,
) -> None:
    topic = settings.topic("predictions")
    async with running_profiler(settings) as worker:
        await produce(settings, topic, events(range(7), model="stranger"), partition=0)
        await worker.until_committed({0: 7})
        assert worker.metrics.value("driftline_unregistered_rows_total", model="stranger", version="1") == 7
        assert [seen.rows for seen in await published(settings, UnregisteredRows)] == [7]
        await register(settings, registered("stranger"))
        await produce(settings, topic, events(range(5), model="stranger"), partition=0)
        await worker.until_committed({0: 12})
    keys = await remaining_keys(settings)
    assert not [key for key in keys if "unregistered" in key]
    assert last_totals(await published(settings, ProfileTotal), "stranger")[0].rows == 5


async def test_records_of_older_generations_are_removed_by_the_owner(settings: Settings) -> None:
    await register_first(settings)
    topic = settings.topic("predictions")
    for _ in range(3):
        await produce(settings, topic, events(range(10)), partition=0)
        async with running_profiler(settings) as worker:
            await eventually(
                lambda: worker.metrics.value("driftline_rows_total", model="m", version="1", topic=topic) == 10
            )
    keys = [key for key in await remaining_keys(settings) if f"/{topic}/0/" in key]
    assert len(keys) == 1
    assert last_totals(await published(settings, ProfileTotal))[0].rows == 30


async def test_a_stream_that_carries_nothing_of_a_model_is_not_counted_for_it(settings: Settings) -> None:
    await register_first(settings)  # its features come with the predictions
    features = settings.topic("features")
    async with running_profiler(settings) as worker:
        await produce(settings, features, events(range(10)), partition=0)
        await worker.until_committed({0: 10}, "features")
    assert await published(settings, ProfileTotal) == []


async def register_first(settings: Settings) -> None:
    await ensure_topics(settings)
    await register(settings, registered())
