"""A profiler as a process of its own, for tests that kill it: ``python -m tests.support.profiling_process``.

Settings come from the environment. It runs until it is killed.
"""

from __future__ import annotations

import asyncio

from agents.settings import load_settings
from tests.support.profiling import running_profiler


async def main() -> None:
    async with running_profiler(load_settings()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
