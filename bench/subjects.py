"""Who is measured against driftline, each as a process of its own that says how far it has come.

``python -m bench.subjects aiokafka|naive BROKER TOPIC`` reads a topic of prediction events from its beginning and
prints a JSON line ``{"time": ..., "records": ...}`` (monotonic clock) every fifty milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from river import drift, linear_model, preprocessing

from schemas.inbound import PredictionEvent

EVERY_S: Final = 0.05


class Progress:
    """Counts records and prints the count."""

    def __init__(self) -> None:
        self.records = 0

    async def report(self) -> None:
        """Print until cancelled."""
        while True:
            sys.stdout.write(json.dumps({"time": time.monotonic(), "records": self.records}) + "\n")
            sys.stdout.flush()
            await asyncio.sleep(EVERY_S)


async def aiokafka_alone(servers: str, topic: str) -> None:
    """Fetch with ``getmany`` and do nothing else."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=250)
    await consumer.start()
    try:
        partitions = await _partitions(consumer, topic)
        consumer.assign(partitions)
        progress = Progress()
        reporting = asyncio.create_task(progress.report())
        while not reporting.done():
            for records in (await consumer.getmany(timeout_ms=250)).values():
                progress.records += len(records)
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    while not (found := consumer.partitions_for_topic(topic)):
        await consumer._client.force_metadata_update()
        await asyncio.sleep(0.05)
    return [TopicPartition(topic, partition) for partition in sorted(found)]


async def naive(servers: str, topic: str) -> None:
    """Do what one writes first: a Faust agent, pydantic, and River for each event."""
    app = faust.App("naive", broker=f"kafka://{servers}", web_enabled=False, topic_disable_leader=True)
    progress = Progress()
    detectors: dict[str, drift.ADWIN] = {}
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()

    @app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))
    async def watch(values: Any) -> None:
        async for value in values:
            event = PredictionEvent.model_validate_json(value)
            features = {name: float(number) for name, number in (event.features or {}).items()}
            for name, number in features.items():
                detectors.setdefault(name, drift.ADWIN()).update(number)
            model.predict_proba_one(features)
            model.learn_one(features, (event.score or 0.0) > 0.5)
            progress.records += 1

    reporting = asyncio.create_task(progress.report())
    await app.start()
    await reporting


SUBJECTS: Final[dict[str, Callable[[str, str], Awaitable[None]]]] = {"aiokafka": aiokafka_alone, "naive": naive}

if __name__ == "__main__":
    asyncio.run(SUBJECTS[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type]
