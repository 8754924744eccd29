"""A serving system that tells driftline what it saw and answered: one JSON event for each prediction.

python examples/produce_predictions.py [ROWS] [DRIFT_AFTER] [ROWS_PER_S]

Sends ROWS answers (12,000) of the model ``churn``, ROWS_PER_S (300) in a second; their times are a minute apart. After
DRIFT_AFTER of them (8,000), customers are ten years older. The model's spec is examples/specs/churn.yaml.
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


def answer(row: int, drift_after: int, rng: random.Random) -> dict[str, object]:
    """Make up a customer and what a model might answer."""
    age = round(rng.gauss(50 if row >= drift_after else 40, 10))
    features = {
        "age": age,
        "country": rng.choices(["DE", "FR", "IT"], weights=[6, 3, 1])[0],
        "is_business": rng.random() < 0.1,
        "monthly_fee": round(rng.lognormvariate(3, 0.4), 2) if rng.random() > 0.02 else None,
    }
    return {
        "model": "churn",
        "version": "1",
        "prediction_id": f"customer-{row}",
        "time": (START + timedelta(minutes=row)).isoformat(),
        "features": features,
        "score": round(min(1.0, max(0.0, rng.betavariate(2, 5) - (age - 40) / 400)), 4),
        "latency_ms": round(rng.gammavariate(4, 1), 1),
    }


async def main(rows: int = 12_000, drift_after: int = 8_000, rows_per_s: int = 300) -> None:
    """Send the answers."""
    servers = os.environ.get("DRIFTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    rng = random.Random(1)
    # Lingering a little lets many events travel in one request.
    async with AIOKafkaProducer(bootstrap_servers=servers, linger_ms=20) as producer:
        for row in range(rows):
            event = answer(row, drift_after, rng)
            # The model's id as the key keeps its rows in order; any key will do.
            await producer.send(TOPIC, json.dumps(event).encode(), key=b"churn")
            if row % 50 == 0:
                await asyncio.sleep(50 / rows_per_s)
    print(f"sent {rows:,} predictions to {TOPIC}")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
