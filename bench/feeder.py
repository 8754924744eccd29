"""Keeps a topic filled a little ahead of whoever is measured, at next to no cost.

Record batches are made beforehand and sent again and again. A topic that is filled before the measurement would come in
one piece of hundreds of megabytes, since the embedded broker answers a fetch with all that it has; Kafka does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.events import EventSource

BATCH_BYTES: Final = 131_072
EVENT_TIME_SPAN_S: Final = 60.0
"""What is fed says that it happened in the last minute, so that steps of ten seconds close while it is measured."""


class Feeder:
    """Feeds one topic.

    Parameters
    ----------
    bootstrap_servers, topic, partitions
        Where to.
    rows_per_event
        For counting.
    """

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self._servers = bootstrap_servers
        self._topic = topic
        self._partitions = partitions
        self._producer: AIOKafkaProducer | None = None
        self._batches: list[tuple[int, BatchBuilder]] = []
        self._turns: Iterator[tuple[int, BatchBuilder]] = iter(())
        self.sent = 0
        """Records that the broker has acknowledged."""

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(bootstrap_servers=self._servers, max_batch_size=BATCH_BYTES, acks=1)
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def prepare(self, sources: Sequence[EventSource], events: int) -> None:
        """Make batches of so many events in all, from each source in turn."""
        made, now = 0, time.time()
        while made < events:
            partition = len(self._batches) % self._partitions
            builder, at = await self._batch(), now - EVENT_TIME_SPAN_S * (1 - made / events)
            for event in chain.from_iterable(zip(*(source.at(at) for source in sources), strict=True)):
                if builder.append(key=None, value=event, timestamp=int(now * 1_000)) is None:
                    break
            builder.close()
            self._batches.append((partition, builder))
            made += builder.record_count()
            await asyncio.sleep(0)
        self._turns = cycle(self._batches)

    async def _batch(self) -> BatchBuilder:
        if self._producer is None:
            raise RuntimeError("the feeder was not started")
        return self._producer.create_batch()

    async def feed(self, done: Callable[[], int], ahead: int) -> None:
        """Feed until cancelled.

        Parameters
        ----------
        done
            How many records were consumed so far.
        ahead
            How many may wait.
        """
        while True:
            room = ahead - (self.sent - done())
            if room > 0:
                await self.fill(min(room, ahead // 8))
            else:
                await asyncio.sleep(0.01)

    async def fill(self, records: int) -> None:
        """Send so many records, or a batch more, and wait until the broker has them."""
        if self._producer is None:
            raise RuntimeError("the feeder was not started")
        begun, sending = self.sent, []
        while self.sent - begun < records:
            partition, builder = next(self._turns)
            sending.append(await self._producer.send_batch(builder, self._topic, partition=partition))
            self.sent += builder.record_count()
        await asyncio.gather(*sending)
