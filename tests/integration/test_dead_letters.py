"""Dead letters on a broker: delivered, or dropped without keeping anybody waiting."""

from __future__ import annotations

import pytest

from agents.dead_letters import DeadLetters, build
from agents.metrics import Metrics
from agents.settings import Settings
from agents.topics import ensure_topics
from schemas.outbound import DeadLetterReason
from tests.support.decoding import record
from tests.support.produce import make_topic, produce
from tests.support.profiling import (
    assert_totals_equal_the_input,
    events,
    letters,
    read_all,
    register,
    registered,
    running_profiler,
)

only_on_apache_kafka = pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)


def counted(metrics: Metrics, outcome: str, reason: str = "invalid_json") -> float:
    return metrics.value("driftline_dead_letters_total", reason=reason, outcome=outcome)


async def test_a_letter_is_delivered_as_a_cloudevent_under_the_key_of_its_origin(settings: Settings) -> None:
    await ensure_topics(settings)
    metrics = Metrics()
    letter = build(record(b"{", 7), DeadLetterReason.INVALID_JSON, "no JSON")
    async with DeadLetters(settings, metrics) as way:
        way.offer(letter)
        await way.deliver()
    assert await letters(settings) == [letter]
    (found,) = await read_all(settings, "dead-letters")
    assert found.key == letter.id.encode()
    assert dict(found.headers)["ce_type"] == b"io.driftline.dead-letter"
    assert counted(metrics, "delivered") == 1


async def test_letters_that_are_pending_are_delivered_on_leaving(settings: Settings) -> None:
    await ensure_topics(settings)
    async with DeadLetters(settings, Metrics()) as way:
        way.offer(build(record(b"{", 7), DeadLetterReason.INVALID_JSON, "no JSON"))
    assert len(await letters(settings)) == 1


@only_on_apache_kafka  # the embedded broker makes topics by itself
async def test_a_topic_that_is_not_there_delays_one_delivery_and_then_none(settings: Settings) -> None:
    impatient = settings.model_copy(update={"dead_letter_timeout_s": 0.5})
    metrics = Metrics()
    now = [0.0]
    async with DeadLetters(impatient, metrics, clock=lambda: now[0]) as way:
        for _ in range(3):
            way.offer(build(record(b"{", 7), DeadLetterReason.INVALID_JSON, "no JSON"))
            await way.deliver()
        assert counted(metrics, "dropped") == 3
        await make_topic(settings, "dead-letters", partitions=1)
        now[0] = 60.0
        way.offer(build(record(b"{", 8), DeadLetterReason.INVALID_JSON, "no JSON"))
        await way.deliver(timeout_s=20.0)
        assert counted(metrics, "delivered") == 1


@only_on_apache_kafka  # the embedded broker knows no limits
async def test_counting_goes_on_while_the_topic_refuses_every_letter(settings: Settings) -> None:
    await make_topic(settings, "dead-letters", partitions=1, config={"max.message.bytes": "100"})
    await ensure_topics(settings)
    await register(settings, registered())
    good = events(range(30))
    await produce(settings, settings.topic("predictions"), [*good[:10], (None, b"{" * 500), *good[10:]])
    async with running_profiler(settings) as worker:
        await worker.until_committed({0: 31})
        assert counted(worker.metrics, "dropped") == 1
    await assert_totals_equal_the_input(settings, registered())
