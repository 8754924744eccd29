"""Ends a worker that has stopped working without having crashed, so that its supervisor starts it again.

Kafka clients can hang, and so can a step of ours: a coordinator that is never found again, a rebalance that does not
end, a fetch that brings nothing although the log goes on, a commit that never comes. A new process starts from what is
committed, which is always right. Every ``LOOK_EVERY_S`` the watchdog looks at what should move, and raises `StuckError`
when something has not, although there is work and the broker answers:

====================  ========================================================================  ====================
what                  stuck when                                                                for
====================  ========================================================================  ====================
a partition           its log goes on behind the position of the fetcher, which stands still    1.5 request timeouts
an agent              runs were handed to it, and it takes no record of them                    1.5 request timeouts
commits               the agent has more to commit than is committed, and that stands still     1.5 request timeouts
the group             cannot be joined, or a rebalance does not end                             2 request timeouts
the broker            does not answer                                                           4 request timeouts
the process           its event loop does not turn (`agents.loop_guard`)                        1.5 request timeouts
====================  ========================================================================  ====================

With the default request timeout of 30 s that is 45 s, a minute for the group, and two for the broker, which may be away
for a while: nothing else is asked to move meanwhile, and all clocks begin anew when it is back.

Work is what an agent was handed, not the distance to the log's end: markers of transactions and gaps of compaction are
no records, and nobody commits behind them. An agent that works for long without taking a record of its run (it reads
back what was saved, or catches up) shows by its `progress` that it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from agents.errors import DeliveryError, StuckError

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics

LOOK_EVERY_S: Final = 5.0
TIMEOUTS: Final = 1.5
"""Request timeouts after which something that stands still is stuck."""
GROUP_TIMEOUTS: Final = 2.0
"""The same for the group: a member that does not come back holds up the others for one."""
BROKER_TIMEOUTS: Final = 4.0
"""The same for the broker."""

_State = tuple[str, Hashable | None, float]
"""A thing that should move, its state (None: it need not move), and for how many seconds it may stand."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an agent has come in a partition.

    Attributes
    ----------
    taken
        Offset of the next record that it will take.
    owed
        The offset that it would commit by now.
    rhythm_s
        How often it commits, in seconds.
    """

    taken: int
    owed: int
    rhythm_s: float = 0.0


class Watched(Protocol):
    """An agent that tells how far it has come."""

    @property
    def inputs(self) -> Collection[str]:
        """Names on the broker of the topics that it takes."""

    def standing(self, tp: TP) -> Standing | None:
        """How far it has come in one of its partitions; None before it has taken the partition up."""


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

    def forget_all_but(self, names: Collection[str]) -> None:
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
    watched
        The agents.
    progress
        Of work that an agent does for long without taking a record: as long as it moves, no agent is stuck.
    """

    def __init__(
        self,
        app: DriftlineApp,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        watched: Sequence[Watched] = (),
        progress: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._watched = watched
        self._progress = progress
        self._timeout_s = app.settings.request_timeout_s
        self._stalls = Stalls()
        self._looked_at: float | None = None
        self.broker_error: str | None = None
        """Why the broker gave no answer when it was asked last; None: it did."""

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
        if self._looked_at is not None and self._clock() - self._looked_at > self._longest_look_s:
            self._stalls.forget_all_but(())  # the process itself stood still: nothing could move
        seen: set[str] = set()
        for name, state, patience_s in await self._states():
            seen.add(name)
            stood = self._stalls.see(name, state, self._clock())
            if stood > patience_s:
                raise StuckError(f"{name} has not moved for {stood:.0f} s: the worker ends, to be started again")
        self._stalls.forget_all_but(seen)
        self._looked_at = self._clock()

    @property
    def _longest_look_s(self) -> float:
        return self._timeout_s + 2 * LOOK_EVERY_S

    @property
    def trouble(self) -> str | None:
        """What keeps the watchdog from looking; None: nothing."""
        if self._looked_at is not None and self._clock() - self._looked_at > self._longest_look_s:
            return f"the consumer's thread has not answered for {self._clock() - self._looked_at:.0f} s"
        return None

    async def _states(self) -> list[_State]:
        """Everything that should move."""
        states: list[_State] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                states += await self._partitions() if self._may_ask else await self._group()
            self.broker_error = None
        except (KafkaError, DeliveryError, OSError, TimeoutError) as error:
            states = []
            self.broker_error = f"no answer: {error or type(error).__name__}"
            log.warning("the broker does not say where its logs end", why=repr(error))
        silent = None if self.broker_error is None else "silent"
        return [*states, ("the broker", silent, BROKER_TIMEOUTS * self._timeout_s)]

    @property
    def _may_ask(self) -> bool:
        return not self._app.rebalancing and bool(self._app.consumer.owned())

    async def _group(self) -> list[_State]:
        """While there are no partitions: whether they are being assigned, and the broker answers."""
        app = self._app
        await app.consumer._thread.call(self._ask(), self._timeout_s)
        joining = app.rebalancing or app.consumer_generation_id <= 0
        state = (app.rebalancing, app.rebalancing_count, app.consumer_generation_id) if joining else None
        return [("the assignment of partitions", state, GROUP_TIMEOUTS * self._timeout_s)]

    async def _ask(self) -> None:
        """Ask the broker anything; runs on the consumer's thread."""
        await self._app.consumer._thread._ensure_consumer()._client.fetch_all_metadata()

    async def _partitions(self) -> list[_State]:
        """What should move in the partitions of this worker; on the way the lag is noted."""
        consumer, patience_s = self._app.consumer, TIMEOUTS * self._timeout_s
        owned = sorted(consumer.owned())
        ends, committed = await consumer.end_offsets(*owned), await consumer.committed(*owned)
        self._show_lag(ends, committed)
        positions = await consumer._thread.call(self._positions(owned), self._timeout_s)
        states: list[_State] = []
        for tp in owned:
            position = positions.get(tp)
            waits_for_agent = tp in consumer._buffered_partitions
            moves = position is None or position >= ends[tp] or waits_for_agent
            states.append((f"partition {tp.topic}/{tp.partition}", None if moves else position, patience_s))
        for agent in self._watched:
            states += self._standings(agent, [tp for tp in owned if tp.topic in agent.inputs], committed)
        return states

    def _standings(self, agent: Watched, owned: Iterable[TP], committed: Mapping[TP, int | None]) -> Iterator[_State]:
        """What an agent should take, and what it should commit."""
        patience_s = TIMEOUTS * self._timeout_s
        taken: dict[str, list[int | None]] = {}
        behind: set[str] = set()
        for tp in owned:
            standing, handed = agent.standing(tp), self._app.consumer.handed(tp)
            taken.setdefault(tp.topic, []).append(None if standing is None else standing.taken)
            if handed is not None and (standing is None or standing.taken < handed):
                behind.add(tp.topic)
            at = committed.get(tp) or 0
            owes = standing is not None and standing.owed > at
            rhythm_s = 0.0 if standing is None else 2 * standing.rhythm_s
            yield f"what is committed of {tp.topic}/{tp.partition}", at if owes else None, patience_s + rhythm_s
        for topic, positions in taken.items():
            state = (tuple(positions), self._progress()) if topic in behind else None
            yield f"the agent on {topic}", state, patience_s

    async def _positions(self, owned: Iterable[TP]) -> dict[TP, int]:
        """Where the fetcher is; runs on the consumer's thread."""
        consumer = self._app.consumer._thread._ensure_consumer()
        wanted = {tp: TopicPartition(tp.topic, tp.partition) for tp in owned}
        assigned = consumer.assignment()
        return {tp: await consumer.position(partition) for tp, partition in wanted.items() if partition in assigned}

    def _show_lag(self, ends: dict[TP, int], committed: dict[TP, int | None]) -> None:
        self._metrics.lag_records.clear()
        for tp, end in ends.items():
            lag = max(0, end - (committed.get(tp) or 0))
            self._metrics.lag_records.labels(topic=tp.topic, partition=str(tp.partition)).set(lag)
