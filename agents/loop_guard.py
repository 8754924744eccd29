"""A thread that ends the process when its event loop does not turn any more: nothing in the loop can do that."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable


class LoopGuard:
    """A thread that ends the process when the event loop does not turn any more.

    Time in which the thread itself did not run, as in a process that was stopped as a whole, does not count.

    Parameters
    ----------
    limit_s
        For how long a loop may stand.
    end
        How to end; by default the stacks of all threads are printed, and the process exits with code 1.
    beat_s
        How often the loop shows that it turns.
    """

    def __init__(self, limit_s: float, end: Callable[[], None] | None = None, beat_s: float = 1.0) -> None:
        self._limit_s = limit_s
        self._beat_s = beat_s
        self._end = _exit_now if end is None else end
        self._beat = time.monotonic()
        self._stopped = threading.Event()

    async def run(self) -> None:
        """Beat for as long as the loop turns; cancel it to end the guard."""
        threading.Thread(target=self._guard, name="loop-guard", daemon=True).start()
        try:
            while True:
                self._beat = time.monotonic()
                await asyncio.sleep(self._beat_s)
        finally:
            self._stopped.set()

    def _guard(self) -> None:
        beat, stood_s, looked_at = self._beat, 0.0, time.monotonic()
        while not self._stopped.wait(self._beat_s):
            now = time.monotonic()
            stood_s = stood_s + min(now - looked_at, 2 * self._beat_s) if self._beat == beat else 0.0
            beat, looked_at = self._beat, now
            if stood_s > self._limit_s:
                self._end()
                return


def _exit_now() -> None:
    sys.stderr.write("driftline: the event loop does not turn any more; the worker ends, to be started again\n")
    faulthandler.dump_traceback()
    os._exit(1)
