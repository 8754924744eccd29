"""Whoever learns what came true tells driftline: one JSON event for each label, found by the id of its prediction.

python examples/produce_outcomes.py [ROWS] [FIRST]

Sends the labels of ROWS (12,000) of the answers that produce_predictions.py has sent, from number FIRST (0) on, each
one to thirty days later than its answer. They count for models whose spec says ``outcomes: {}``.
"""

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

TOPIC = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.") + "outcomes"
START = datetime(2024, 1, 1, tzinfo=UTC)


def outcome(row: int, rng: random.Random) -> dict[str, object]:
    """Make up whether a customer has left."""
    known = START + timedelta(minutes=row, days=rng.uniform(1, 30))
    return {
        "model": "churn",
        # The id under which the answer was sent is all that is needed to find it.
        "prediction_id": f"customer-{row}",
        "label": "1" if rng.random() < 0.25 else "0",
        "time": known.isoformat(),
    }


async def main(rows: int = 12_000, first: int = 0) -> None:
    """Send the labels."""
    servers = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    rng = random.Random(2)
    async with AIOKafkaProducer(bootstrap_servers=servers, linger_ms=20) as producer:
        for row in range(first, first + rows):
            await producer.send(TOPIC, json.dumps(outcome(row, rng)).encode(), key=b"churn")
    print(f"sent {rows:,} labels to {TOPIC}")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
