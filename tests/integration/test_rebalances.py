"""Workers that come and go at random while records arrive: nothing is lost between them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from agents.app import running
from agents.settings import Settings
from tests.support.collecting import Collector
from tests.support.group import altered
from tests.support.produce import make_topic
from tests.support.wait import eventually

PARTITIONS = 6
SECONDS = 15.0


class Storm:
    """Three places for workers, each of which lives for some seconds, commits often and is followed by another."""

    def __init__(self, settings: Settings, topic: str, seed: int) -> None:
        self.settings = settings
        self.topic = topic
        self.random = random.Random(seed)
        self.workers: list[Collector] = []
        self.produced = [0] * PARTITIONS
        self.tried: dict[int, set[int]] = defaultdict(lambda: {0})
        self._over = asyncio.Event()

    async def run(self) -> None:
        feeding = asyncio.create_task(self._feed())
        end = time.monotonic() + SECONDS
        await asyncio.gather(*(self._place(end) for _ in range(3)))
        self._over.set()
        await feeding
        last = self._worker()
        async with running(last.app):
            await eventually(lambda: all(self._is_done(last, partition) for partition in range(PARTITIONS)))

    async def _feed(self) -> None:
        producer = AIOKafkaProducer(**self.settings.client_options())
        await producer.start()
        while not self._over.is_set():
            for partition in range(PARTITIONS):
                count = self.random.randint(1, 60)
                sent = [await producer.send(self.topic, b"x", partition=partition) for _ in range(count)]
                await asyncio.gather(*sent)
                self.produced[partition] += count
        await producer.stop()

    async def _place(self, end: float) -> None:
        while time.monotonic() < end:
            collector = self._worker()
            async with running(collector.app):
                life = time.monotonic() + self.random.uniform(0.5, 4)
                while time.monotonic() < life:
                    await asyncio.sleep(self.random.uniform(0, 0.2))
                    await self._commit(collector)

    async def _commit(self, collector: Collector) -> None:
        generation = collector.app.consumer_generation_id
        given = {tp.partition: collector.given[tp.partition] for tp in collector.app.consumer.owned()}
        offsets = {partition: seen[-1] + 1 for partition, seen in given.items() if seen}
        for partition, offset in offsets.items():
            self.tried[partition].add(offset)
        if offsets:
            by_tp = {TP(self.topic, partition): offset for partition, offset in offsets.items()}
            await collector.app.consumer.commit_offsets(by_tp, generation)

    def _worker(self) -> Collector:
        self.workers.append(Collector(self.settings, self.topic))
        return self.workers[-1]

    def _is_done(self, last: Collector, partition: int) -> bool:
        end = self.produced[partition]
        return last.given[partition][-1:] == [end - 1] or max(self.tried[partition]) == end


@pytest.mark.slow
@pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)
async def test_a_storm_of_rebalances_loses_no_record(settings: Settings) -> None:
    settings = altered(settings, heartbeat_interval_s=0.3, run_max_records=50)
    storm = Storm(settings, await make_topic(settings, "in", PARTITIONS), seed=20)
    await storm.run()
    assert len(storm.workers) > 6
    for partition in range(PARTITIONS):
        given = [collector.given[partition] for collector in storm.workers]
        assert set().union(*given) == set(range(storm.produced[partition]))
        skips = {later for seen in given for earlier, later in itertools.pairwise(seen) if later > earlier + 1}
        assert skips <= storm.tried[partition], "a partition goes on where somebody committed, and nowhere else"
