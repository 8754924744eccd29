"""Hear of drift: print what a paging system needs from each drift event.

python examples/subscribe_drift_events.py [SECONDS]

Runs until Ctrl-C, or until nothing has come for SECONDS.
"""

import asyncio
import contextlib
import json
import os
import sys

from aiokafka import AIOKafkaConsumer

TOPIC = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.") + "drift-events"


def page(event: dict) -> dict[str, object]:
    """Turn a drift event into an alert: one for each incident, closed when the incident is over."""
    return {
        "dedup_key": event["dedup_key"],
        "action": "resolve" if event["status"] == "resolved" else "trigger",
        "severity": event["severity"],
        "summary": event["summary"],
        "assign_to": event["owner"],
        "drifted": [signal["signal"] for signal in event["signals"] if signal["tier"] != "none"],
        "since": event["since"],
    }


async def main(seconds: float | None = None) -> None:
    """Follow the topic."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        group_id="pager",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    seen: set[str] = set()  # in production: a table; an event may come twice, with the same id
    async with consumer:
        while True:
            timeout = 1_000 if seconds is None else int(1_000 * seconds)
            runs = await consumer.getmany(timeout_ms=timeout)
            if not runs and seconds is not None:
                return
            for records in runs.values():
                for record in records:
                    event = json.loads(record.value)
                    if event["id"] not in seen:
                        seen.add(event["id"])
                        print(json.dumps(page(event)), flush=True)
            await consumer.commit()  # after the work: what was not done yet comes again


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*map(float, sys.argv[1:])))
