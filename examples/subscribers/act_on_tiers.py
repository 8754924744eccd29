"""Turn each tier into an action, once: a plain consumer that remembers in a table what it has done.

python examples/subscribers/act_on_tiers.py [DATABASE] [SECONDS]

DATABASE is an SQLite file (done.db). Runs until Ctrl-C, or until nothing has come for SECONDS.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer

TOPIC = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.") + "drift-events"
SERVERS = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")


def note(event: dict) -> str:
    """For whoever looks at the model next."""
    return f"note for {event['owner'] or 'nobody'}: {event['summary']}"


def open_ticket(event: dict) -> str:
    """For working hours; one ticket for one incident."""
    return f"ticket {event['dedup_key'][:8]}: {event['summary']}"


def page(event: dict) -> str:
    """At once."""
    return f"page {event['owner'] or 'whoever is on call'}, {event['dedup_key'][:8]}: {event['summary']}"


def close(event: dict) -> str:
    """The incident is over."""
    return f"close {event['dedup_key'][:8]}"


ACTIONS: dict[str, Callable[[dict], str]] = {"minor": note, "moderate": open_ticket, "significant": page, "none": close}
"""By tier; put your own here. An incident without a tier is resolved."""


class Done:
    """Ids of events that were acted upon, in a table: an event may come twice, also after a restart."""

    def __init__(self, path: str) -> None:
        self._table = sqlite3.connect(path, isolation_level=None)
        self._table.execute("CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY)")

    def __contains__(self, event_id: str) -> bool:
        return self._table.execute("SELECT 1 FROM done WHERE id = ?", [event_id]).fetchone() is not None

    def add(self, event_id: str) -> None:
        """Remember an event."""
        self._table.execute("INSERT INTO done VALUES (?)", [event_id])


def act(event: dict, done: Done) -> str | None:
    """Act upon an event; None where it has been acted upon."""
    if event["id"] in done:
        return None
    said = ACTIONS[event["tier"]](event)
    done.add(event["id"])  # after the action: a crash in between acts twice, and never not at all
    return said


async def main(database: str = "done.db", seconds: str | None = None) -> None:
    """Follow the topic."""
    done = Done(database)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=SERVERS,
        group_id="act-on-tiers",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer:
        while True:
            runs = await consumer.getmany(timeout_ms=1_000 if seconds is None else int(1_000 * float(seconds)))
            if not runs and seconds is not None:
                return
            for records in runs.values():
                for record in records:
                    if said := act(json.loads(record.value), done):
                        print(said, flush=True)
            await consumer.commit()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
