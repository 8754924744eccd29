"""The watchdog on a running app: what stands still is named, what need not move is left alone."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DriftlineApp, create_app, running
from agents.errors import StuckError
from agents.metrics import Metrics
from agents.settings import Settings
from agents.watchdog import AGENT_TIMEOUTS, TIMEOUTS, Watchdog
from tests.support.produce import make_topic, numbered, produce
from tests.support.wait import eventually


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def app_with_agent(settings: Settings, topic: str, gate: asyncio.Event, seen: list[int]) -> DriftlineApp:
    """An app whose agent waits at the gate with each run."""
    app = create_app(settings.model_copy(update={"run_max_records": 10}), run_topics=[topic])

    @app.agent(app.input_topic(topic), name="gated")
    async def gated(runs: object) -> None:
        async for event in runs.events():  # type: ignore[attr-defined]
            seen.append(len(event.value))
            await gate.wait()

    return app


async def test_an_agent_that_does_not_come_back_from_a_run_while_others_wait_is_stuck(settings: Settings):
    topic = await make_topic(settings, "input")
    gate, seen, clock = asyncio.Event(), [], Clock()
    app = app_with_agent(settings, topic, gate, seen)
    watchdog = Watchdog(app, Metrics(), clock)
    async with running(app):
        await produce(settings, topic, numbered(100))
        await eventually(lambda: seen != [])
        await asyncio.sleep(0.5)
        await watchdog.look()
        clock.now += AGENT_TIMEOUTS * settings.request_timeout_s
        await watchdog.look()
        clock.now += 1.0
        with pytest.raises(StuckError, match=r"the agent .*gated has not moved for 601 s"):
            await watchdog.look()
        gate.set()


async def test_an_agent_that_has_nothing_to_do_is_not_stuck(settings: Settings):
    topic = await make_topic(settings, "input")
    gate, seen, clock = asyncio.Event(), [], Clock()
    gate.set()
    app = app_with_agent(settings, topic, gate, seen)
    watchdog = Watchdog(app, Metrics(), clock)
    async with running(app):
        await produce(settings, topic, numbered(100))
        await eventually(lambda: sum(seen) == 100)
        for _ in range(3):
            await watchdog.look()
            clock.now += 100 * settings.request_timeout_s
    assert watchdog.trouble is not None  # nobody has looked for long


async def test_markers_of_transactions_at_the_end_of_a_log_are_no_standstill(settings: Settings):
    topic = await make_topic(settings, "input")
    gate, seen, clock = asyncio.Event(), [], Clock()
    gate.set()
    app = app_with_agent(settings, topic, gate, seen)
    watchdog = Watchdog(app, Metrics(), clock)
    async with running(app):
        await produce(settings, topic, numbered(10), transactional_id=f"{topic}-1")
        await eventually(lambda: sum(seen) == 10)
        await asyncio.sleep(0.5)
        for _ in range(3):
            await watchdog.look()
            clock.now += 2 * TIMEOUTS * settings.request_timeout_s


async def test_the_lag_is_that_between_what_is_committed_and_the_end(settings: Settings):
    topic = await make_topic(settings, "input")
    gate, seen, metrics = asyncio.Event(), [], Metrics()
    gate.set()
    app = app_with_agent(settings, topic, gate, seen)
    async with running(app):
        await produce(settings, topic, numbered(30))
        await eventually(lambda: sum(seen) == 30)
        await Watchdog(app, metrics).look()
    assert metrics.value("driftline_lag_records", topic=topic, partition="0") == 30
    assert metrics.value("driftline_lag_records", topic=topic, partition="1") == 0
