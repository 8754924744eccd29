"""The consumer stops, whatever its fetching does with a cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from agents.paced_consumer import PacedConsumer
from agents.settings import Settings


async def test_a_consumer_whose_fetching_loses_a_cancellation_still_stops(settings: Settings) -> None:
    consumer = PacedConsumer(**settings.client_options(), group_id=settings.group)
    await consumer.start()
    fetching = consumer._fetcher._fetch_task

    async def loses_one_cancellation() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await fetching

    consumer._fetcher._fetch_task = asyncio.create_task(loses_one_cancellation())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(consumer.stop())
    done, _ = await asyncio.wait([stopping], timeout=10)
    stopping.cancel()
    assert done
    assert fetching.done()
