"""Segments through whole workers: chosen by a reference from the stream, counted alike by whoever counts."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import numpy as np
import pytest

from agents.registry import Registry
from agents.settings import Settings
from agents.topics import ensure_topics
from agents.worker import running_worker
from detector.layout import Layout
from detector.profile import Profile
from schemas.model_spec import ModelSpec, ReferenceSpec, Stage
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY, numbers, rows_of, spec_of
from tests.support.kafka import ApacheKafka
from tests.support.produce import produce
from tests.support.profiling import last_totals, published, register
from tests.support.worker import EVERY_ROWS, drift_events, statuses, until, until_judged

REFERENCE_ROWS, STABLE_ROWS, CHANGED_ROWS = 800, 2_400, 800
ALL_ROWS = REFERENCE_ROWS + STABLE_ROWS + CHANGED_ROWS
RNG = np.random.default_rng(12)
COUNTRIES = [str(each) for each in RNG.choice(["DE", "FR", "US"], size=ALL_ROWS, p=[0.5, 0.4, 0.1])]
X = RNG.normal(size=ALL_ROWS)
X[REFERENCE_ROWS + STABLE_ROWS :] += 2.5 * (np.array(COUNTRIES[REFERENCE_ROWS + STABLE_ROWS :]) == "US")
DRAFT = spec_of(*numbers("x"), segments={"fields": ["country"]}, reference=ReferenceSpec(rows=REFERENCE_ROWS))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"publish_every_rows": EVERY_ROWS, "save_interval_s": 0.2, "web_port": 0})


def prediction(number: int) -> tuple[None, bytes]:
    content = {
        "model": "m",
        "version": "1",
        "time": datetime.fromtimestamp(MONDAY + number, UTC).isoformat(),
        "features": {"x": X[number]},
        "prediction": 1,
        "segments": {"country": COUNTRIES[number]},
    }
    return None, json.dumps(content).encode()


async def feed(settings: Settings, start: int, stop: int, partitions: int = 1) -> None:
    for partition in range(partitions):
        mine = [prediction(number) for number in range(start, stop) if number % partitions == partition]
        await produce(settings, settings.topic("predictions"), mine, partition)


async def spec_in_force(settings: Settings) -> ModelSpec:
    """The spec with the reference that was frozen from the stream."""
    async with Registry(settings) as registry:
        found = registry.lookup("m", "1")
    assert found is not None
    return found.spec


async def assert_segments_equal_the_input(settings: Settings, partitions: int = 1) -> None:
    """Count the input again, from where each total began, and compare segment by segment."""
    spec = await spec_in_force(settings)
    layout = Layout(spec)
    totals = last_totals(await published(settings, ProfileTotal))
    assert len(totals) == partitions
    for partition, total in totals.items():
        mine = range(partition, ALL_ROWS, partitions)[total.started_at : total.next_offset]
        columns = {"feature:x": [X[number] for number in mine], "segment:country": [COUNTRIES[n] for n in mine]}
        counted = Profile.decode_parts(total.parts, layout.width, segment_width=layout.segment_width)
        assert counted == layout.count(rows_of(spec, columns))
        assert len(counted.segments) >= 3


async def test_the_reference_from_the_stream_chooses_segments_and_drift_in_one_is_named(settings: Settings):
    await ensure_topics(settings)
    await register(settings, DRAFT)
    half = REFERENCE_ROWS + STABLE_ROWS // 2
    async with running_worker(settings):
        await feed(settings, 0, half)
        await until_judged(settings, (half - REFERENCE_ROWS) // EVERY_ROWS * EVERY_ROWS)
    async with running_worker(settings):  # a restart
        await feed(settings, half, ALL_ROWS)
        await until_judged(settings, (ALL_ROWS - REFERENCE_ROWS) // EVERY_ROWS * EVERY_ROWS)

        async def raised() -> bool:
            return await drift_events(settings) != []

        await until(raised)
    events = await drift_events(settings)
    assert {verdict.name for event in events for verdict in event.signals} == {"feature:x in country=US"}
    status = (await statuses(settings))["m/1/production"]
    assert [each.segment for each in status.segments] == ["country=DE", "country=FR", "country=US"]
    await assert_segments_equal_the_input(settings)


@pytest.mark.kafka
@pytest.mark.integration
async def test_two_workers_and_one_that_leaves_count_segments_alike(apache_kafka: ApacheKafka, topic_prefix: str):
    settings = Settings(
        bootstrap_servers=apache_kafka.bootstrap_servers, topic_prefix=topic_prefix, group=f"{topic_prefix}worker",
        partitions=2, web_port=0, heartbeat_interval_s=0.5, save_interval_s=0.2,
    )  # fmt: skip
    await ensure_topics(settings)
    await register(settings, DRAFT)
    async with running_worker(settings) as first, AsyncExitStack() as second_life:
        await first.ready()
        await feed(settings, 0, REFERENCE_ROWS, partitions=2)
        second = await second_life.enter_async_context(running_worker(settings))
        await second.ready()
        await feed(settings, REFERENCE_ROWS, 2_000, partitions=2)
        await until_judged(settings, 2_000 - REFERENCE_ROWS)
        await second_life.aclose()
        await feed(settings, 2_000, ALL_ROWS, partitions=2)
        await until_judged(settings, ALL_ROWS - REFERENCE_ROWS)
    await assert_segments_equal_the_input(settings, partitions=2)
    assert Stage.PRODUCTION.value in "".join(await statuses(settings))
