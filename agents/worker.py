"""The worker: everything put together, started, run and ended in order.

Started in this order, ended in the reverse::

    topics       made where they are missing, checked where they are there
    registry     reads the model specs to their end
    dead letters
    web          /healthz, /readyz, /metrics, /totals
    app          profiling, verdicts, responses, watchdog: the agents join the group

As a process: `run_worker`. In a program of one's own (tests, the demo)::

    async with running_worker(settings) as worker:
        await worker.ready()
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from agents.app import DriftlineApp, create_app, running
from agents.dead_letters import DeadLetters
from agents.errors import OperatorError
from agents.failpoints import arm
from agents.log_reader import LogReader
from agents.logs import configure_logs, quiet_libraries
from agents.loop_guard import LoopGuard
from agents.metrics import Metrics, release
from agents.profiling import Profiler
from agents.registry import Registry
from agents.responses import SOURCES, Responder
from agents.settings import Settings, load_settings
from agents.topics import ensure_topics
from agents.verdicts import Verdicts
from agents.watchdog import TIMEOUTS, Watchdog
from agents.web import Checks, WebServer

RUN_TOPICS: Final = ("features", "predictions", "outcomes", "joins", "profiles", *SOURCES)
"""Topics whose records come to the agents in runs."""
STOP_WITHIN_S: Final = 45.0
"""A worker that was told to stop and is still there after so long is ended."""
CRASH_WITHIN_S: Final = 10.0
"""The same for one that has crashed: there is nothing left to write, and a silent broker would keep it."""

EXIT_CRASHED: Final = 1
EXIT_OPERATOR: Final = 2
"""Something outside must change first; the one line on standard error says what."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A running worker, seen from the same process."""

    settings: Settings
    app: DriftlineApp
    registry: Registry
    metrics: Metrics
    web: WebServer
    checks: Checks
    watchdog: Watchdog

    @property
    def url(self) -> str:
        """Address of ``/healthz``, ``/readyz`` and ``/metrics``, without the path."""
        return f"http://{self.web.host}:{self.web.port}"

    def not_ready(self) -> list[str]:
        """What ``/readyz`` would complain of."""
        return [f"{name}: {reason}" for name, check in self.checks.ready.items() if (reason := check())]

    async def ready(self, within_s: float = 60.0) -> None:
        """Wait until the worker does its work.

        Raises
        ------
        TimeoutError
            It does not within ``within_s`` seconds; the message says why.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while reasons := self.not_ready():
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"the worker is not ready after {within_s:g} s: {'; '.join(reasons)}")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_worker(
    settings: Settings, metrics: Metrics | None = None, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[WorkerHandle]:
    """Run a worker in this event loop for as long as the block lasts; a crash ends the block and is raised here.

    Parameters
    ----------
    settings
        Of the worker.
    metrics
        Where it counts; its own by default.
    clock
        Of the watchdog: seconds, monotonic.

    Raises
    ------
    OperatorError
        The broker does not answer, a topic is not as it must be, or the web port is taken.
    """
    with quiet_libraries():
        await ensure_topics(settings)
    metrics = Metrics() if metrics is None else metrics
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(settings, metrics))
        letters = await stack.enter_async_context(DeadLetters(settings, metrics))
        app = create_app(settings, run_topics=[settings.topic(name) for name in RUN_TOPICS])
        profiler = Profiler(app, registry, letters, metrics)
        profiler.attach()
        verdicts = Verdicts(app, registry, metrics)
        verdicts.attach()
        responder = Responder(app, registry, metrics)
        responder.attach()
        watchdog = Watchdog(
            app,
            metrics,
            clock,
            watched=(profiler, verdicts, responder),
            progress=lambda: (profiler.joiner.taken, verdicts.progress, LogReader.past_read),
        )
        app.task(watchdog.watch)
        app.task(registry.watch)
        checks = _checks(app, registry, profiler, verdicts, watchdog)
        stack.callback(profiler.joiner.close)
        web = await stack.enter_async_context(
            WebServer(settings.web_host, settings.web_port, metrics, checks, profiler.totals)
        )
        await stack.enter_async_context(running(app))
        yield WorkerHandle(settings, app, registry, metrics, web, checks, watchdog)


def _checks(
    app: DriftlineApp, registry: Registry, profiler: Profiler, verdicts: Verdicts, watchdog: Watchdog
) -> Checks:
    """What is asked of a worker: whether it lives, and whether it does its work.

    A worker that waits for its broker lives: a new process would have to wait as well. What stands still although the
    broker answers, the watchdog ends by itself.
    """

    def crashed() -> str | None:
        return None if app.crash_reason is None else f"crashed: {app.crash_reason!r}"

    def group() -> str | None:
        joined = app.started and app.consumer_generation_id > 0
        return None if joined and not app.rebalancing else "partitions are being assigned"

    def saved() -> str | None:
        if group() is None and verdicts.is_ready and all(ledger.is_loaded for ledger in profiler.ledgers):
            return None
        return "totals and states are being read back"

    return Checks(
        live={"worker": crashed, "watchdog": lambda: watchdog.trouble},
        ready={
            "worker": crashed,
            "registry": lambda: None if registry.is_ready else "the models topic is being read",
            "group": group,
            "saved": saved,
            "broker": lambda: watchdog.broker_error or watchdog.trouble,
        },
    )


# ------------------------------------------------------------------------------------------------ as a process


def run_worker(settings: Settings) -> int:
    """Run a worker as this process until SIGTERM or SIGINT, or until it crashes.

    Returns
    -------
    int
        The exit code: 0 after a signal; 1 after a crash (a supervisor starts it again, from what is committed); 2 with
        one line on standard error when something outside must change first.
    """
    configure_logs(settings)
    try:
        arm(os.environ)
        asyncio.run(_serve(settings))
    except OperatorError as error:
        sys.stderr.write(f"driftline: {error}\n")
        return EXIT_OPERATOR
    except Exception:
        log.exception("the worker has crashed")
        return EXIT_CRASHED
    return 0


async def _serve(settings: Settings) -> None:
    stop = _StopSignal()
    guard = asyncio.create_task(LoopGuard(TIMEOUTS * settings.request_timeout_s).run())
    try:
        async with running_worker(settings) as worker:
            log.info("the worker runs", release=release(), brokers=settings.bootstrap_servers, group=settings.group,
                     models=len(worker.registry), web=worker.url)  # fmt: skip
            with _deadline_on_crash(worker.app):
                await stop.wait()
            log.info("the worker stops: what was counted is published and committed")
        log.info("the worker has stopped")
    except asyncio.CancelledError:
        if not stop.received:
            raise
        log.info("the worker was stopped while it started")
    finally:
        guard.cancel()


class _StopSignal:
    """SIGTERM and SIGINT: the first stops the worker in order (or ends its start), the second at once."""

    def __init__(self) -> None:
        self.received = False
        self._waited_for = False
        self._event = asyncio.Event()
        self._task = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive)

    async def wait(self) -> None:
        """Wait for the first signal."""
        self._waited_for = True
        await self._event.wait()

    def _receive(self) -> None:
        if self.received:
            os._exit(EXIT_CRASHED)
        self.received = True
        _end_after(STOP_WITHIN_S)
        self._event.set()
        if not self._waited_for and self._task is not None:
            self._task.cancel()


@contextmanager
def _deadline_on_crash(app: DriftlineApp) -> Iterator[None]:
    try:
        yield
    finally:
        if app.crash_reason is not None:
            log.error("the worker crashes and is taken down", why=repr(app.crash_reason))
            _end_after(CRASH_WITHIN_S)


def _end_after(seconds: float) -> None:
    """Make sure that the process ends, whatever hangs while it is taken down."""

    def end() -> None:
        sys.stderr.write(f"driftline: the worker did not come down within {seconds:g} s and is ended\n")
        os._exit(EXIT_CRASHED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def main() -> None:
    """Run a worker with the settings of the environment: ``python -m agents.worker``."""
    try:
        settings = load_settings()
    except OperatorError as error:
        sys.stderr.write(f"driftline: {error}\n")
        sys.exit(EXIT_OPERATOR)
    sys.exit(run_worker(settings))


if __name__ == "__main__":
    main()
