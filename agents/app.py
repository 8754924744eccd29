"""The Faust app that the agents live in: batch transport, and nothing of Faust that driftline does not use.

An agent on a run topic, committing by hand::

    app = create_app(settings, run_topics=[settings.topic("predictions")])

    @app.agent(app.input_topic(settings.topic("predictions")))
    async def count(runs):
        async for event in runs.events():
            run = event.value                       # agents.runs.Run
            generation = event.message.generation_id
            ...                                     # work on run.since(next_offset[run.partition])
            if not await app.consumer.commit_offsets({event.message.tp: run.next_offset}, generation):
                ...                                 # no longer ours: drop what was counted

In-process (tests, the demo)::

    async with running(app):                        # starts, waits for the first assignment, stops
        ...                                         # a crash of an agent ends the block and is raised here

`agents.worker` does the same for a process, and leaves the block on SIGTERM.

What an agent can rely on

- *Assignment.* ``app.on_partitions_revoked`` and ``app.on_partitions_assigned`` are signals
  (``@app.on_partitions_assigned.connect async def f(app, assigned: set[TP], **kwargs)``). A rebalance takes all
  partitions away and gives some back: the revoked set is all that the worker had, the assigned set all that it has
  now. While the handlers run, producing works and commits are refused; no record is fetched until they are done.
  They hold up the group, so they take at most a few seconds.
- *Generation.* ``app.consumer_generation_id`` changes with each assignment (not yet when partitions are revoked) and is
  in every message (``event.message.generation_id``). Messages of an old generation are not handed to an agent, but a
  rebalance can happen at any of its awaits: ask ``app.owns(tp, generation)`` after each.
- *Position.* After an assignment a partition is read from the committed offset, or from the log's beginning when that
  offset is missing or not in the log. A run may repeat records, never leave one out.
- *Crash.* An exception in an agent, in a task of the app or in the consumer's thread crashes the app: nothing is
  restarted inside the process, since a new process starts from what is committed and that is always right.
- *Shutdown.* Fetching stops first, then ``app.on_before_shutdown`` is sent: its handlers can still produce and commit.
  Agents are cancelled after that, and the producer is stopped last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import faust
from faust.app import BootStrategy
from faust.tables.manager import TableManager
from faust.types import TP
from mode import CrashingSupervisor

from agents.errors import StuckError
from agents.producer import IdempotentProducer
from agents.settings import Settings
from agents.tasks import end_tasks
from agents.transport import RunConsumer, RunTransport

STOP_WITHIN_S: Final = 40.0
"""Rows are published and committed within this time, or will be read again."""


class _WithoutWeb(BootStrategy):
    """The services of a worker without Faust's web server; driftline has its own."""

    enable_web = False


class _Resumption(TableManager):
    """Drives the resumption after a rebalance (which Faust does here) without waiting for tables at the start."""

    async def on_start(self) -> None:
        """Start at once."""
        await self._update_channels()
        await self.recovery.start()


class DriftlineApp(faust.App):
    """A Faust app on the run transport.

    Parameters
    ----------
    settings
        Settings of the worker.
    run_topics
        Names on the broker of the topics whose records come in runs.
    """

    BootStrategy = _WithoutWeb
    consumer: RunConsumer
    producer: IdempotentProducer

    def __init__(self, settings: Settings, run_topics: Iterable[str] = ()) -> None:
        self.settings = settings
        self.run_topics = frozenset(run_topics)
        super().__init__(
            settings.group,
            broker=[f"kafka://{server}" for server in settings.servers],
            agent_supervisor=CrashingSupervisor,
            TableManager=_Resumption,
            broker_request_timeout=settings.request_timeout_s,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.heartbeat_interval_s,
            cython_optimizations=True,
            key_serializer="raw",
            value_serializer="raw",
            stream_buffer_maxsize=settings.buffered_runs,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            worker_redirect_stdouts=False,
        )

    def _new_transport(self) -> RunTransport:
        return RunTransport(self.conf.broker_consumer, self)

    _new_producer_transport = _new_transport

    async def on_stop(self) -> None:
        """Stop fetching, then let the handlers of `on_before_shutdown` finish; what they raise stops nothing else."""
        try:
            await super().on_stop()
        except Exception as error:
            self.log.warning("while the app stopped: %r", error)
            if self.crash_reason is None:
                self.crash_reason = error

    async def _stop_futures(self) -> None:
        await end_tasks(self._futures)
        self._futures.clear()

    def _create_directories(self) -> None:
        """Make none: Faust's folders are for tables."""

    def input_topic(self, name: str) -> faust.TopicT:
        """Return the topic ``name`` (as on the broker) for an agent: raw, and without Faust's own commits."""
        return self.topic(name, acks=False, key_serializer="raw", value_serializer="raw", allow_empty=True)

    def owns(self, tp: TP, generation: int) -> bool:
        """Whether ``tp``, as assigned in ``generation``, still belongs to this worker."""
        return not self.rebalancing and generation == self.consumer_generation_id and tp in self.consumer.owned()


def create_app(settings: Settings, run_topics: Iterable[str] = ()) -> DriftlineApp:
    """Make an app without agents; `agents.worker` adds them."""
    return DriftlineApp(settings, run_topics)


@asynccontextmanager
async def running(app: DriftlineApp) -> AsyncIterator[DriftlineApp]:
    """Run the app in this event loop for as long as the block lasts.

    Raises
    ------
    BaseException
        Whatever crashed the app, in the block or while it stopped.
    """
    body = cast("asyncio.Task[Any]", asyncio.current_task())
    crash = asyncio.create_task(_cancel_when_crashed(app, body))
    try:
        await app.start()
        yield app
    except (Exception, asyncio.CancelledError) as error:
        if app.crash_reason is None:
            raise
        if isinstance(error, asyncio.CancelledError):
            body.uncancel()
    finally:
        crash.cancel()
        await _stop(app)
    if app.crash_reason is not None:
        raise app.crash_reason


async def _cancel_when_crashed(app: DriftlineApp, body: asyncio.Task[Any]) -> None:
    await app._crashed.wait()
    body.cancel("the app crashed")


async def _stop(app: DriftlineApp) -> None:
    """Stop to the end, even where a crash cancels the wait for it.

    Raises
    ------
    StuckError
        It takes longer than `STOP_WITHIN_S`.
    """
    stopping = asyncio.create_task(app.stop())
    deadline = asyncio.get_running_loop().time() + STOP_WITHIN_S
    cancelled = False
    while not stopping.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.wait([stopping], timeout=left)
        except asyncio.CancelledError:
            cancelled = True
    if not stopping.done():
        await end_tasks([stopping])
        raise StuckError(f"the app did not stop within {STOP_WITHIN_S:g} s")
    stopping.result()
    if cancelled and app.crash_reason is None:
        raise asyncio.CancelledError
