"""What a dead letter says, and how many are written."""

from __future__ import annotations

import base64
import hashlib

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from agents.dead_letters import KEPT_VALUE_BYTES, DeadLetters, TokenBucket, build
from agents.metrics import Metrics
from agents.settings import Settings
from schemas import codec
from schemas.outbound import DeadLetter, DeadLetterReason

REASON = DeadLetterReason.INVALID_JSON


def record(value: bytes | None, key: bytes | None = None, timestamp: int = 1_714_564_800_000) -> ConsumerRecord:
    return ConsumerRecord("driftline.predictions", 3, 17, timestamp, 0, key, value, None, 0, 0, ())


def test_a_letter_names_where_its_record_came_from() -> None:
    letter = build(record(b"{", b"key"), REASON, "no JSON")
    assert letter.id == "driftline.predictions/3/17"
    assert (letter.origin.topic, letter.origin.partition, letter.origin.offset) == ("driftline.predictions", 3, 17)
    assert letter.time.isoformat() == "2024-05-01T12:00:00+00:00"
    assert base64.b64decode(letter.key_base64 or "") == b"key"


def test_a_replay_repeats_a_letter_to_the_byte() -> None:
    assert codec.encode(build(record(b"{"), REASON, "no JSON")) == codec.encode(build(record(b"{"), REASON, "no JSON"))


@given(st.binary(max_size=10))
def test_a_short_value_is_kept_whole(value: bytes) -> None:
    letter = build(record(value), REASON, "")
    assert base64.b64decode(letter.value_base64) == value
    assert (letter.length, letter.truncated) == (len(value), False)


def test_of_a_long_value_the_first_64_kib_the_length_and_the_digest_of_the_whole_are_kept() -> None:
    value = bytes(range(256)) * 1_000
    letter = build(record(value), REASON, "")
    assert base64.b64decode(letter.value_base64) == value[:KEPT_VALUE_BYTES] == value[:65_536]
    assert (letter.length, letter.truncated) == (256_000, True)
    assert letter.sha256 == hashlib.sha256(value).hexdigest()


def test_a_tombstone_has_a_letter_too() -> None:
    letter = build(record(None), DeadLetterReason.EMPTY, "no value")
    assert (letter.length, letter.value_base64, letter.key_base64) == (0, "", None)


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=5_000), st.binary(max_size=5_000))
def test_no_timestamp_text_or_key_is_too_odd_for_a_letter(timestamp: int, detail: str, key: bytes) -> None:
    letter = build(record(b"", key, timestamp), REASON, detail)
    assert codec.decode(DeadLetter, codec.encode(letter)) == letter
    assert len(codec.encode(letter)) < 20_000


def test_text_that_is_no_unicode_does_not_stop_a_letter() -> None:
    assert codec.encode(build(record(b""), REASON, "half a pair: \ud800"))


@given(st.floats(0.5, 200.0), st.lists(st.floats(0.0, 3.0), max_size=300))
def test_no_more_letters_are_written_than_the_rate_allows(rate: float, pauses: list[float]) -> None:
    now = [0.0]
    bucket = TokenBucket(rate, lambda: now[0])
    taken = 0
    for pause in pauses:
        now[0] += pause
        taken += bucket.take()
        assert taken <= max(rate, 1.0) + rate * now[0] + 1e-6


def test_after_a_quiet_second_as_many_letters_may_be_written_as_at_first() -> None:
    now = [0.0]
    bucket = TokenBucket(10.0, lambda: now[0])
    assert [bucket.take() for _ in range(11)] == [True] * 10 + [False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(11)] == [True] * 10 + [False]


def test_letters_beyond_the_rate_are_counted_as_suppressed() -> None:
    metrics = Metrics()
    letters = DeadLetters(Settings(dead_letters_per_s=5.0), metrics, clock=lambda: 0.0)
    for _ in range(12):
        letters.offer(build(record(b"{"), REASON, "no JSON"))
    assert metrics.value("driftline_dead_letters_total", reason="invalid_json", outcome="suppressed") == 7


@pytest.mark.parametrize("count", [0, 3])
async def test_without_a_connection_letters_are_dropped_and_nobody_waits(count: int) -> None:
    metrics = Metrics()
    letters = DeadLetters(Settings(), metrics)
    for _ in range(count):
        letters.offer(build(record(b"{"), REASON, "no JSON"))
    await letters.deliver()
    await letters.deliver()
    assert metrics.value("driftline_dead_letters_total", reason="invalid_json", outcome="dropped") == count
