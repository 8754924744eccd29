"""A training pipeline that waits for retrain requests and reads the rows that it is told to train on.

python examples/retrain_on_request.py [SECONDS]

Runs until Ctrl-C, or until nothing has come for SECONDS.
"""

import asyncio
import contextlib
import json
import os
import sys

from aiokafka import AIOKafkaConsumer, TopicPartition

PREFIX = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.")
SERVERS = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")


async def training_rows(request: dict) -> list[dict]:
    """Read the rows of the model from the offsets that the request recommends."""
    rows = []
    async with AIOKafkaConsumer(bootstrap_servers=SERVERS, enable_auto_commit=False) as consumer:
        for part in request["training_range"]["offsets"]:
            partition = TopicPartition(part["topic"], part["partition"])
            consumer.assign([partition])
            consumer.seek(partition, part["from_offset"])
            while await consumer.position(partition) < part["to_offset"]:
                records = (await consumer.getmany(partition, timeout_ms=1_000)).get(partition, [])
                events = [json.loads(record.value) for record in records if record.offset < part["to_offset"]]
                rows += [event for event in events if event["model"] == request["model"]]
    return rows


async def train(request: dict) -> None:
    """Here would be your training; register the new version with `driftline models apply` when it is done."""
    rows = await training_rows(request)
    print(f"{request['urgency']}: train {request['model']} after {request['version']} on {len(rows):,} rows, because "
          f"{request['reason']}", flush=True)  # fmt: skip


async def main(seconds: float | None = None) -> None:
    """Follow the topic."""
    consumer = AIOKafkaConsumer(
        PREFIX + "retrain-requests",
        bootstrap_servers=SERVERS,
        group_id="training-pipeline",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    done: set[str] = set()  # in production: a table; a request may come twice, with the same id
    async with consumer:
        while True:
            runs = await consumer.getmany(timeout_ms=1_000 if seconds is None else int(1_000 * seconds))
            if not runs and seconds is not None:
                return
            for records in runs.values():
                for record in records:
                    request = json.loads(record.value)
                    if request["id"] not in done:
                        await train(request)
                        done.add(request["id"])
            await consumer.commit()  # after the work: a crash in between trains again, and never not at all


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*map(float, sys.argv[1:])))
