"""The README's programs run as they stand there, against a broker with driftline's topics."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.broker import EmbeddedBroker
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas.codec import encode
from schemas.inbound import PredictionEvent
from schemas.outbound import DriftEvent
from schemas.responses import RetrainRequest
from tests.support.readme import blocks

pytestmark = pytest.mark.integration
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
PRODUCER, SUBSCRIBER = blocks("python")


@pytest.fixture
def servers() -> Iterator[str]:
    """A broker with the topics of a worker at its defaults."""
    with EmbeddedBroker() as broker:
        asyncio.run(ensure_topics(Settings(bootstrap_servers=broker.bootstrap_servers)))
        yield broker.bootstrap_servers


def started(program: str, servers: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DRIFTLINE_BOOTSTRAP_SERVERS": servers, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_producer_sends_a_prediction_event(servers: str) -> None:
    async def first_record() -> bytes:
        consumer = AIOKafkaConsumer(
            "driftline.predictions", bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None
        )
        async with consumer:
            return (await asyncio.wait_for(consumer.getone(), 20)).value or b""

    program = started(PRODUCER, servers)
    output, _ = program.communicate(timeout=30)
    assert program.returncode == 0, output
    assert PredictionEvent.model_validate_json(asyncio.run(first_record())).score == 0.73


def test_the_subscriber_prints_each_drift_event_and_retrain_request_once(servers: str) -> None:
    event = DriftEvent.model_validate_json((EXAMPLES / "drift-event.json").read_text())
    request = RetrainRequest.model_validate_json((EXAMPLES / "retrain-request.json").read_text())

    async def emit() -> None:
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            for _ in range(2):
                await producer.send_and_wait("driftline.drift-events", encode(event), key=event.model.encode())
            await producer.send_and_wait("driftline.retrain-requests", encode(request), key=request.model.encode())

    program = started(SUBSCRIBER, servers)
    try:
        asyncio.run(emit())
        assert program.stdout is not None
        lines = {program.stdout.readline().strip() for _ in range(2)}
    finally:
        program.kill()
        rest, _ = program.communicate()
    assert rest == ""
    expected = f"{event.severity} {event.change} {event.model} {event.version} - {event.summary}"
    training = json.loads(encode(request))["training_range"]
    assert lines == {expected, f"train {request.model} on {training['since']} to {training['until']}"}
