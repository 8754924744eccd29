"""How many outcomes a second one worker joins with their predictions: first predictions that wait, then their labels.

Each prediction has an id of its own, of the length of a UUID. What is measured is what is committed: forwarded to the
topic of joins, joined, counted and published.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Protocol

import aiohttp
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from agents.settings import Settings
from agents.tasks import end_tasks
from agents.topics import admin
from bench.events import VERSION, EventSource, Shape, model_name
from bench.feeder import Feeder
from bench.measured import WARM_UP_S, Worker

AHEAD: Final = 60_000
"""Records that wait for the worker at any time."""
_POLL_S: Final = 0.1
_WITHIN_S: Final = 180.0


class Source(Protocol):
    """Endless events."""

    def at(self, time: float) -> Iterator[bytes]:
        """Make events of one time."""


class Predictions:
    """Predictions whose ids are numbered on; otherwise those of (c)."""

    def __init__(self, shape: Shape) -> None:
        self._events, self._number = EventSource(shape), 0

    def at(self, time: float) -> Iterator[bytes]:
        """Make predictions of one time (seconds since 1970), without end."""
        for event in self._events.at(time):
            head, _, rest = event.partition(b'"prediction_id":"')
            yield head + b'"prediction_id":"' + _id(self._number) + rest[rest.index(b'"') :]
            self._number += 1


class Labels:
    """Their labels, in the same order."""

    def __init__(self) -> None:
        self._number = 0

    def at(self, time: float) -> Iterator[bytes]:
        """Make outcomes of one time (seconds since 1970), without end."""
        written = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        head = f'{{"model":"{model_name(0)}","version":"{VERSION}","time":"{written}","prediction_id":"'.encode()
        while True:
            yield head + _id(self._number) + (b'","label":"1"}', b'","label":"0"}')[self._number % 3 == 0]
            self._number += 1


def _id(number: int) -> bytes:
    return b"%08x-7f3a-4e21-9d55-%012x" % (number, number * 2_654_435_761 % 2**48)


async def outcome_rates(worker: Worker, settings: Settings, shape: Shape, count: int) -> dict[str, float]:
    """Measure with so many predictions and their labels; the worker runs and knows the model."""
    waiting, waiting_cpu = await _phase(worker, settings, "predictions", Predictions(shape), count)
    joined, joined_cpu = await _phase(worker, settings, "outcomes", Labels(), count)
    matched = await _metric(worker, "driftline_outcomes_total{", 'fate="matched"')
    if matched < count:
        raise RuntimeError(f"{matched:,.0f} of {count:,} labels found their predictions")
    return {
        "labelled_predictions_per_s": round(waiting),
        "outcomes_joined_per_s": round(joined),
        "labelled_predictions_per_cpu_s": round(waiting_cpu),
        "outcomes_joined_per_cpu_s": round(joined_cpu),
    }


async def _phase(worker: Worker, settings: Settings, topic: str, source: Source, count: int) -> tuple[float, float]:
    """Feed a topic and wait until all of it is committed, in the topic of joins too.

    Returns
    -------
    tuple
        Records a second of the clock, and records a second of processor time of the worker.
    """
    cpu = await _metric(worker, "process_cpu_seconds_total ")
    name = f'driftline_records_total{{topic="{settings.topic(topic)}"}}'
    taken = 0
    async with Feeder(settings.bootstrap_servers, settings.topic(topic), settings.partitions) as feeder:
        await feeder.prepare([source], count)
        feeding = asyncio.create_task(_feed(feeder, lambda: taken, count))
        samples: list[tuple[float, int]] = []
        try:
            async with asyncio.timeout(_WITHIN_S):
                while True:
                    worker.check()
                    taken = int(await _metric(worker, name))
                    done = await _committed(settings, topic)
                    samples.append((time.monotonic(), done))
                    if feeding.done() and done >= feeder.sent and await _is_idle(settings):
                        break
                    await asyncio.sleep(_POLL_S)
        finally:
            await end_tasks([feeding])
    began = next(at for at, done in samples if done)
    steady = [(at, done) for at, done in samples if at >= began + WARM_UP_S]
    (start, first), end = steady[0], time.monotonic()
    cpu = await _metric(worker, "process_cpu_seconds_total ") - cpu
    return (feeder.sent - first) / (end - start), feeder.sent / cpu


async def _feed(feeder: Feeder, done: object, count: int) -> None:
    while feeder.sent < count:
        room = AHEAD - (feeder.sent - done())  # type: ignore[operator]
        if room > 0:
            await feeder.fill(min(room, AHEAD // 8, count - feeder.sent))
        else:
            await asyncio.sleep(0.01)


async def _committed(settings: Settings, topic: str) -> int:
    async with admin(settings) as client:
        offsets = await client.list_consumer_group_offsets(settings.group)
    name = settings.topic(topic)
    return sum(max(0, at.offset) for tp, at in offsets.items() if tp.topic == name)


async def _is_idle(settings: Settings) -> bool:
    """Whether all of the topic of joins is committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers)
    await consumer.start()
    try:
        tps = [TopicPartition(settings.topic("joins"), partition) for partition in range(settings.partitions)]
        ends = await consumer.end_offsets(tps)
    finally:
        await consumer.stop()
    return await _committed(settings, "joins") >= sum(ends.values())


async def _metric(worker: Worker, *parts: str) -> float:
    """Add up the samples whose lines hold all of these parts."""
    total = 0.0
    with suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if not line.startswith("#") and all(part in line for part in parts):
                    total += float(line.rsplit(" ", 1)[1])
    return total
