"""Alert latency: from the append of the record that caused a drift event to the event's arrival at a subscriber.

Models drift and recover in turns. The record that caused an event is the newest of the step in which it was raised, as
the event's own lineage names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.settings import Settings
from bench.events import EventSource, Shape
from schemas import codec
from schemas.outbound import DriftEvent

EVENTS_PER_S: Final = 2_000
SPEED: Final = 15.0
"""Event time passes so many times as fast, so that each second's publication closes a step of ten seconds."""
SHIFT: Final = 2.0
"""Standard deviations."""
STABLE_S: Final = 20.0
"""Before the first shift: a model's own burstiness is measured first."""
TURN_S: Final = 6.0
"""How long a shift lasts, and how long the recovery from it."""
SHORTEST_S: Final = STABLE_S + 4 * TURN_S


async def latencies(settings: Settings, shape: Shape, seconds: float) -> list[float]:
    """Produce for so long, or `SHORTEST_S`, to a running worker; return the latency of each drift event, in seconds."""
    seconds = max(seconds, SHORTEST_S)
    appended: dict[tuple[int, int], float] = {}
    found: list[float] = []
    listening = asyncio.create_task(_listen(settings, appended, found))
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await producer.start()
    try:
        await _produce(producer, settings, shape, seconds, appended)
        await asyncio.sleep(3.0)
    finally:
        await producer.stop()
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    return found


async def _produce(
    producer: AIOKafkaProducer, settings: Settings, shape: Shape, seconds: float, appended: dict[tuple[int, int], float]
) -> None:
    topic = settings.topic("predictions")
    streams = [[EventSource(shape, model, shift) for shift in (0.0, SHIFT)] for model in range(shape.models)]
    begun = time.time()
    tick_s, sent = 0.02, 0
    while (elapsed := time.time() - begun) < seconds:
        event_time = begun - SPEED * seconds + SPEED * elapsed
        wanted = int(elapsed * EVENTS_PER_S)
        for number in range(sent, wanted):
            model = number % shape.models
            events = streams[model][_is_shifted(model, shape.models, elapsed)].at(event_time)
            future = await producer.send(topic, next(events), partition=model % settings.partitions)
            future.add_done_callback(partial(_note, time.time(), appended))
        sent = wanted
        await asyncio.sleep(tick_s)
    await producer.flush()


def _is_shifted(model: int, models: int, elapsed: float) -> bool:
    """Whether a model drifts now; each does so at a time of its own."""
    since = elapsed - STABLE_S - model / models * 2 * TURN_S
    return since > 0 and int(since / TURN_S) % 2 == 0


def _note(at: float, appended: dict[tuple[int, int], float], done: asyncio.Future[Any]) -> None:
    metadata = done.result()
    appended[metadata.partition, metadata.offset] = at


async def _listen(settings: Settings, appended: dict[tuple[int, int], float], found: list[float]) -> None:
    consumer = AIOKafkaConsumer(
        settings.topic("drift-events"),
        bootstrap_servers=settings.bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        async for record in consumer:
            arrived = time.time()
            causes = _causes(codec.decode(DriftEvent, record.value), appended)
            if causes:
                found.append(arrived - max(causes))
    finally:
        await consumer.stop()


def _causes(event: DriftEvent, appended: dict[tuple[int, int], float]) -> Sequence[float]:
    panes = event.lineage.steps[-1].panes if event.lineage.steps else ()
    places = [(pane.partition, pane.to_offset - 1) for pane in panes]
    return [appended[place] for place in places if place in appended]
