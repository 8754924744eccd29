"""A scoring job that sends many rows in one event: columns instead of rows, at a fraction of the cost of each.

python examples/produce_batches.py [BATCHES] [ROWS]

Sends BATCHES events (20) of ROWS rows each (500) of the model ``churn``; its spec is examples/specs/churn.yaml.
"""

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

TOPIC = os.environ.get("DRIFTLINE_TOPIC_PREFIX", "driftline.") + "predictions"
START = datetime(2024, 1, 1, tzinfo=UTC)


def batch(number: int, rows: int, rng: random.Random) -> dict[str, object]:
    """Make up the answers of one run; every list has ``rows`` entries."""
    return {
        "model": "churn",
        "version": "1",
        "rows": rows,
        "time": (START + timedelta(hours=number)).isoformat(),
        "features": {
            "age": [round(rng.gauss(40, 10)) for _ in range(rows)],
            "country": rng.choices(["DE", "FR", "IT"], weights=[6, 3, 1], k=rows),
            "is_business": [rng.random() < 0.1 for _ in range(rows)],
            "monthly_fee": [round(rng.lognormvariate(3, 0.4), 2) for _ in range(rows)],
        },
        "score": [round(rng.betavariate(2, 5), 4) for _ in range(rows)],
    }


async def main(batches: int = 20, rows: int = 500) -> None:
    """Send the batches."""
    servers = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    rng = random.Random(1)
    async with AIOKafkaProducer(bootstrap_servers=servers, compression_type="lz4") as producer:
        for number in range(batches):
            await producer.send(TOPIC, json.dumps(batch(number, rows, rng)).encode(), key=b"churn")
    print(f"sent {batches * rows:,} predictions in {batches} events to {TOPIC}")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
