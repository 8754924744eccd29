"""Wait for what happens in other tasks and processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Return as soon as the condition holds; raise TimeoutError when it does not come true in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the conditions are of others, who set no event
            await asyncio.sleep(0.02)
