"""Records that could not be counted: written to a topic of their own, within limits, and never in the way.

A bad deployment must not drain an input topic into this one: only so many letters a second are written, the rest are
counted as *suppressed*. A letter that is not acknowledged in time is counted as *dropped*; after a timeout nothing is
tried for a while, so that a topic that refuses writes costs the worker one wait and not one wait for each flush.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from schemas import codec
from schemas.outbound import DeadLetter, DeadLetterReason, Origin

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.settings import Settings

KEPT_VALUE_BYTES: Final = 65_536
"""So much of a value is kept."""
KEPT_KEY_BYTES: Final = 1_024
KEPT_DETAIL_CHARACTERS: Final = 1_000
RETRY_AFTER_S: Final = 30.0
"""After a timeout nothing is tried for so long."""
SOURCE: Final = "/driftline/worker"

_LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999, where Python's calendar ends

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a letter."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    SUPPRESSED = "suppressed"


def build(record: ConsumerRecord, reason: DeadLetterReason, detail: str) -> DeadLetter:
    """Write the letter of a record.

    Parameters
    ----------
    record
        As it was fetched.
    reason
        Its class of fault.
    detail
        One sentence: what is wrong and, where it helps, how to mend it.
    """
    value = record.value or b""
    time_ = datetime.fromtimestamp(min(max(record.timestamp, 0), _LAST_MS) / 1_000, UTC)
    return DeadLetter(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        reason=reason,
        detail=detail[:KEPT_DETAIL_CHARACTERS].encode(errors="replace").decode(),
        origin=Origin(topic=record.topic, partition=record.partition, offset=record.offset, timestamp=time_),
        time=time_,
        key_base64=None if record.key is None else base64.b64encode(record.key[:KEPT_KEY_BYTES]).decode(),
        value_base64=base64.b64encode(value[:KEPT_VALUE_BYTES]).decode(),
        length=len(value),
        sha256=hashlib.sha256(value).hexdigest(),
        truncated=len(value) > KEPT_VALUE_BYTES,
    )


class TokenBucket:
    """Allows ``rate`` events a second on average, and as many at once as one second allows.

    Parameters
    ----------
    rate
        Events per second.
    clock
        Seconds, monotonic.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.capacity = max(rate, 1.0)
        self._clock = clock
        self._tokens = self.capacity
        self._filled_at = clock()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        now = self._clock()
        self._tokens = min(self.capacity, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class DeadLetters:
    """The way to the ``dead-letters`` topic.

    Its producer is its own: neither idempotent (which would try for ever, and keep what it tries) nor shared with
    what must be delivered.
    """

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._topic = settings.topic("dead-letters")
        self._metrics = metrics
        self._clock = clock
        self._bucket = TokenBucket(settings.dead_letters_per_s, clock)
        self._pending: list[DeadLetter] = []
        self._retry_at = clock()
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect to the broker."""
        options = self._settings.client_options()
        options["request_timeout_ms"] = int(self._settings.dead_letter_timeout_s * 1_000)
        self._producer = AIOKafkaProducer(**options, acks="all", max_request_size=self._settings.max_request_bytes)
        await self._producer.start()

    async def stop(self) -> None:
        """Deliver what is pending, or drop it, and disconnect."""
        await self.deliver()
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def offer(self, letter: DeadLetter) -> None:
        """Keep the letter for the next delivery, or count it as suppressed when there are too many."""
        if self._bucket.take():
            self._pending.append(letter)
            log.warning("record could not be counted", reason=letter.reason, detail=letter.detail, record=letter.id)
        else:
            self._count(letter, Outcome.SUPPRESSED)

    async def deliver(self, timeout_s: float | None = None) -> None:
        """Send what was offered and wait for the acknowledgements, ``timeout_s`` seconds in total at most.

        Parameters
        ----------
        timeout_s
            None: as the settings say. Letters not acknowledged by then are counted as dropped.
        """
        letters, self._pending = self._pending, []
        if not letters:
            return
        if self._producer is None or self._clock() < self._retry_at:
            self._drop(letters, "the topic refused writes a short time ago")
            return
        sends = {asyncio.create_task(self._send(self._producer, letter)): letter for letter in letters}
        limit = self._settings.dead_letter_timeout_s if timeout_s is None else timeout_s
        done, late = await asyncio.wait(sends, timeout=limit)
        for send in late:
            send.cancel()
        if late:
            self._retry_at = self._clock() + RETRY_AFTER_S
            self._drop([sends[send] for send in late], f"not acknowledged within {limit:g} s")
        for send in done:
            if error := send.exception():
                self._drop([sends[send]], repr(error))
            else:
                self._count(sends[send], Outcome.DELIVERED)

    async def _send(self, producer: AIOKafkaProducer, letter: DeadLetter) -> None:
        await producer.send_and_wait(
            self._topic,
            codec.encode(letter),
            key=letter.id.encode(),
            headers=codec.headers(letter, source=SOURCE),
        )

    def _drop(self, letters: Sequence[DeadLetter], why: str) -> None:
        log.error("dead letters dropped", letters=len(letters), why=why, first=letters[0].id)
        for letter in letters:
            self._count(letter, Outcome.DROPPED)

    def _count(self, letter: DeadLetter, outcome: Outcome) -> None:
        self._metrics.dead_letters.labels(reason=letter.reason.value, outcome=outcome.value).inc()
