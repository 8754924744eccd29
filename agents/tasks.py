"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import structlog

ASK_AGAIN_S: Final = 1.0
END_WITHIN_S: Final = 10.0

log = structlog.get_logger(__name__)


async def end_tasks(tasks: Iterable[asyncio.Future[Any]], within_s: float = END_WITHIN_S) -> None:
    """Cancel tasks and wait until they have ended; their results and errors are theirs.

    A cancellation is delivered once, and a library that waits in between may lose it (`asyncio.wait_for` of Python 3.11
    does, when what it waits for ends at that moment): the task then runs on, and whoever waits for it waits for ever.
    So it is cancelled again until it has ended. One that has not after ``within_s`` seconds is logged and left.
    """
    running = {task for task in tasks if not task.done()}
    deadline = asyncio.get_running_loop().time() + within_s
    while running and (left := deadline - asyncio.get_running_loop().time()) > 0:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=min(ASK_AGAIN_S, left))
    for task in running:
        log.error("a task does not end and is left", task=repr(task), seconds=within_s)
