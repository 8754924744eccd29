"""Ends a worker that has stopped working without having crashed, so that its supervisor starts it again.

Kafka clients can hang: a coordinator that is never found again, a rebalance that does not end, a fetch that brings
nothing although the log goes on. A new process starts from what is committed, which is always right. Every
``LOOK_EVERY_S`` the watchdog looks at what should move, and raises `StuckError` when something has not:

==================  ==========================================================================  ====================
what                stuck when                                                                  for
==================  ==========================================================================  ====================
a partition         its log goes on behind the position of the fetcher, which stands still      4 request timeouts
the group           a rebalance does not end                                                    4 request timeouts
the broker          does not say where the logs end                                             4 request timeouts
an agent            works on one run while others wait                                          20 request timeouts
the process         its event loop does not turn (seen by a thread)                             4 request timeouts
==================  ==========================================================================  ====================

With the default request timeout of 30 s that is two minutes, and ten for an agent, which may have much to catch up.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from agents.errors import DeliveryError, StuckError

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics

LOOK_EVERY_S: Final = 5.0
TIMEOUTS: Final = 4
"""Request timeouts after which something that stands still is stuck."""
AGENT_TIMEOUTS: Final = 20
"""The same for an agent."""

log = structlog.get_logger(__name__)


class Stalls:
    """Since when things have stood still. Holds no clock: the time is an argument."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[Hashable, float]] = {}

    def see(self, name: str, state: Hashable | None, now: float) -> float:
        """Note the state of a thing, and return for how many seconds it has been the same; None is never stuck."""
        if state is None:
            self._since.pop(name, None)
            return 0.0
        before = self._since.get(name)
        if before is None or before[0] != state:
            self._since[name] = (state, now)
            return 0.0
        return now - before[1]

    def forget_all_but(self, names: set[str]) -> None:
        """Forget things that are no longer there."""
        self._since = {name: since for name, since in self._since.items() if name in names}


class Watchdog:
    """Looks at an app; its `watch` is a task of that app.

    Parameters
    ----------
    app
        The app to look at.
    metrics
        Where the lag is shown.
    clock
        Seconds, monotonic.
    progress
        Of work that an agent does for long in one run: as long as it moves, no agent is stuck.
    """

    def __init__(
        self,
        app: DriftlineApp,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        progress: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._progress = progress
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._timeout_s = app.settings.request_timeout_s
        self._stalls = Stalls()
        self._looked_at: float | None = None
        self._broker_error: str | None = None

    async def watch(self) -> None:
        """Look again and again.

        Raises
        ------
        StuckError
            Something does not move.
        """
        while not self._app.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Look once; raises as `watch` does."""
        seen: set[str] = set()
        for name, state, timeouts in await self._states():
            seen.add(name)
            stood = self._stalls.see(name, state, self._clock())
            if stood > timeouts * self._timeout_s:
                raise StuckError(f"{name} has not moved for {stood:.0f} s: the worker ends, to be started again")
        self._stalls.forget_all_but(seen)
        self._looked_at = self._clock()

    @property
    def trouble(self) -> str | None:
        """What keeps the broker from answering, or the watchdog from looking; None: nothing."""
        if self._looked_at is not None and self._clock() - self._looked_at > self._timeout_s + 2 * LOOK_EVERY_S:
            return f"the consumer's thread has not answered for {self._clock() - self._looked_at:.0f} s"
        return self._broker_error

    async def _states(self) -> list[tuple[str, Hashable | None, int]]:
        """Everything that should move: its name, its state (None: it need not move), and its patience."""
        app = self._app
        states: list[tuple[str, Hashable | None, int]] = [
            ("the rebalance", app.rebalancing_count if app.rebalancing else None, TIMEOUTS),
            *((f"the agent {name}", state, AGENT_TIMEOUTS) for name, state in self._agents()),
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                partitions = await self._partitions()
            self._broker_error = None
        except (KafkaError, DeliveryError, OSError, TimeoutError) as error:
            partitions = []
            self._broker_error = f"no answer: {error or type(error).__name__}"
            log.warning("the broker does not say where its logs end", why=repr(error))
        states += [(name, state, TIMEOUTS) for name, state in partitions]
        states.append(("the broker", self._broker_error and "silent", TIMEOUTS))
        return states

    async def _partitions(self) -> list[tuple[str, Hashable | None]]:
        """For each partition the fetcher's position while there is more to fetch; on the way the lag is noted."""
        consumer = self._app.consumer
        owned = sorted(consumer.owned())
        if self._app.rebalancing or not owned:
            return []
        ends, committed = await consumer.end_offsets(*owned), await consumer.committed(*owned)
        self._show_lag(ends, committed)
        states: list[tuple[str, Hashable | None]] = []
        for tp in owned:
            position = await consumer._thread.call(self._position(tp), self._app.settings.request_timeout_s)
            waits_for_agent = tp in consumer._buffered_partitions
            moves = position is None or position >= ends[tp] or waits_for_agent
            states.append((f"partition {tp.topic}/{tp.partition}", None if moves else position))
        return states

    async def _position(self, tp: TP) -> int | None:
        """Where the fetcher is; runs on the consumer's thread."""
        consumer = self._app.consumer._thread._ensure_consumer()
        partition = TopicPartition(tp.topic, tp.partition)
        if partition not in consumer.assignment():
            return None
        position: int = await consumer.position(partition)
        return position

    def _show_lag(self, ends: dict[TP, int], committed: dict[TP, int | None]) -> None:
        self._metrics.lag_records.clear()
        for tp, end in ends.items():
            lag = max(0, end - (committed.get(tp) or 0))
            self._metrics.lag_records.labels(topic=tp.topic, partition=str(tp.partition)).set(lag)

    def _agents(self) -> Iterator[tuple[str, Hashable | None]]:
        """For each agent the run that it works on, while others wait behind it."""
        for name, agent in self._app.agents.items():
            for actor in agent._actors:
                stream = actor.stream
                event = stream.current_event
                waiting = stream.channel.queue.qsize()
                state = None
                if event is not None and waiting:
                    state = (event.message.tp, event.message.offset, self._progress())
                yield f"{name.rpartition('.')[2]}", state


class LoopGuard:
    """A thread that ends the process when the event loop does not turn any more.

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
        while not self._stopped.wait(self._beat_s):
            if time.monotonic() - self._beat > self._limit_s:
                self._end()
                return


def _exit_now() -> None:
    sys.stderr.write("driftline: the event loop does not turn any more; the worker ends, to be started again\n")
    faulthandler.dump_traceback()
    os._exit(1)
