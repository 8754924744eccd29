"""aiokafka's consumer, gentle to brokers that answer an empty fetch at once, and that stops for certain.

Apache Kafka holds a fetch that finds nothing for ``fetch_max_wait_ms``. The embedded broker does not, and aiokafka asks
again without a pause: an idle worker would keep a core busy. Here an empty answer that came early is followed by a
short rest.

aiokafka's fetching task loses its cancellation where it comes while the task waits for the fetches of partitions that
were just revoked; a stop that follows a rebalance closely would then wait for it for ever.

The names with an underscore are those of aiokafka 0.14.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from agents.tasks import end_tasks

REST_S: Final = 0.02
"""The pause: what it may add to the time until a record is seen, on such a broker only."""


class PacedConsumer(AIOKafkaConsumer):
    """Rests after an empty fetch that the broker did not hold; stops also in the midst of a rebalance."""

    async def start(self) -> None:
        """Connect, and pace the fetches from then on."""
        await super().start()
        fetch = self._fetcher._proc_fetch_request

        async def paced(*args: Any) -> bool:
            began = time.monotonic()
            brought_something: bool = await fetch(*args)
            if not brought_something and time.monotonic() - began < REST_S:
                with suppress(asyncio.CancelledError):  # as aiokafka's own: a cancelled fetch ends without a word
                    await asyncio.sleep(REST_S)
            return brought_something

        self._fetcher._proc_fetch_request = paced

    async def stop(self) -> None:
        """End the fetching, leave the group and disconnect."""
        if self._fetcher is not None and not self._closed:
            await end_tasks([self._fetcher._fetch_task])
        await super().stop()
