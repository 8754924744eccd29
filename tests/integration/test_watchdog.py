"""The watchdog on a real worker: what stands still is named, what need not move is left alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from agents.broker import EmbeddedBroker, free_port
from agents.errors import StuckError
from agents.failpoints import VARIABLE, Place, arm
from agents.settings import Settings
from agents.watchdog import LOOK_EVERY_S
from agents.worker import EXIT_CRASHED, WorkerHandle, running_worker
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.wait import eventually
from tests.support.worker import (
    EVERY_ROWS,
    STABLE_ROWS,
    committed,
    prediction,
    predictions,
    start_worker,
    until,
    watched,
)

LONG_S = 90.0
"""Longer than anything may stand but the broker."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    arm({})


async def look_for(worker: WorkerHandle, clock: Clock, seconds: float) -> None:
    """Look as often as the watchdog does, in time that only it sees pass."""
    for _ in range(int(seconds / LOOK_EVERY_S)):
        await worker.watchdog.look()
        clock.now += LOOK_EVERY_S


async def get(worker: WorkerHandle, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(worker.url + path) as response:
        return response.status, await response.text()


def with_web(settings: Settings, **fields: object) -> Settings:
    return settings.model_copy(update={"web_port": 0, **fields})


# ----------------------------------------------------------------------------------------------- what is stuck


@pytest.mark.parametrize(
    ("place", "stuck"),
    [
        (Place.BEFORE_COUNT, "the agent on .*predictions"),
        (Place.BEFORE_PUBLISH, "what is committed of .*predictions/0|the agent on .*predictions"),
        (Place.BEFORE_COMMIT, "what is committed of .*predictions/0|the agent on .*predictions"),
        (Place.FOLDED, "the agent on .*profiles"),
        (Place.BEFORE_SAVE, "what is committed of .*profiles|the agent on .*profiles"),
        (Place.BEFORE_ANSWER, "the agent on .*drift-events"),
    ],
)
async def test_a_step_that_hangs_while_there_is_work_is_named_within_a_minute(
    settings: Settings, place: Place, stuck: str
):
    settings, clock = with_web(settings, publish_every_rows=EVERY_ROWS, save_interval_s=0.2), Clock()
    topic = settings.topic("predictions")
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await worker.ready()
        arm({VARIABLE: f"{place}=hang"})
        await produce(settings, topic, predictions(range(STABLE_ROWS)))
        await produce(settings, topic, predictions(range(STABLE_ROWS, STABLE_ROWS + 400), shifted=True))
        await until_all_else_is_done(worker, stuck)
        with pytest.raises(StuckError, match=f"({stuck}).* has not moved for 50 s"):
            await look_for(worker, clock, 60.0)
        arm({})


async def until_all_else_is_done(worker: WorkerHandle, stuck: str) -> None:
    """Wait until what should move is what hangs, and nothing else."""

    async def is_alone() -> bool:
        names = [name for name, state, _ in await worker.watchdog._states() if state is not None]
        return names != [] and all(re.match(stuck, name) for name in names)

    await until(is_alone)


async def until_idle(worker: WorkerHandle) -> None:
    """Wait until nothing has to move."""

    async def is_idle() -> bool:
        return all(state is None for _, state, _ in await worker.watchdog._states())

    await until(is_idle)


async def until_counted(settings: Settings, offset: int) -> None:
    async def counted() -> bool:
        return (await committed(settings, "predictions")).get(0, 0) >= offset

    await until(counted)


# ------------------------------------------------------------------------------------------- what is left alone


async def test_a_worker_that_has_nothing_to_do_is_not_stuck(settings: Settings):
    clock = Clock()
    async with running_worker(with_web(settings), clock=clock) as worker:
        await worker.ready()
        await look_for(worker, clock, LONG_S)


async def test_rows_that_wait_for_the_next_cut_are_no_standstill(settings: Settings):
    settings, clock = with_web(settings, publish_every_rows=100), Clock()
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await produce(settings, settings.topic("predictions"), predictions(range(250)))
        await until_counted(settings, 200)
        await until_idle(worker)
        await look_for(worker, clock, LONG_S)
    assert (await committed(settings, "predictions"))[0] == 200


async def test_markers_of_transactions_at_the_end_of_a_log_are_no_standstill(settings: Settings):
    settings, clock = with_web(settings), Clock()
    topic = settings.topic("predictions")
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await produce(settings, topic, predictions(range(10)), transactional_id=f"{topic}-1")
        await produce(settings, topic, [(None, prediction(11))], transactional_id=f"{topic}-2", abort=True)
        await until_counted(settings, 10)
        await until_idle(worker)
        await look_for(worker, clock, LONG_S)


async def test_a_process_that_stood_still_as_a_whole_is_not_stuck_when_it_comes_back(settings: Settings):
    settings, clock = with_web(settings), Clock()
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await worker.ready()
        arm({VARIABLE: f"{Place.BEFORE_COUNT}=hang"})
        await produce(settings, settings.topic("predictions"), predictions(range(10)))
        await eventually(lambda: any(worker.app.consumer.handed(tp) for tp in worker.app.consumer.owned()))
        await worker.watchdog.look()
        clock.now += 10 * LONG_S  # stopped, and continued
        await worker.watchdog.look()
        arm({})


async def test_the_lag_is_that_between_what_is_committed_and_the_end(settings: Settings):
    settings, clock = with_web(settings), Clock()
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await worker.ready()
        arm({VARIABLE: f"{Place.BEFORE_COMMIT}=hang"})
        await produce(settings, settings.topic("predictions"), predictions(range(30)))
        topic = settings.topic("predictions")
        await eventually(lambda: worker.metrics.value("driftline_records_total", topic=topic) == 30)
        await worker.watchdog.look()
        assert worker.metrics.value("driftline_lag_records", topic=topic, partition="0") == 30
        assert worker.metrics.value("driftline_lag_records", topic=topic, partition="1") == 0
        arm({})


# ------------------------------------------------------------------------------------------- over HTTP


async def test_readiness_says_what_is_missing_while_a_worker_starts_and_is_true_when_it_is_there(settings: Settings):
    async with running_worker(with_web(settings)) as worker:
        status, reasons = await get(worker, "/readyz")
        assert (status, reasons) == (200, "ok\n") or {line.split(":")[0] for line in reasons.splitlines()} <= {
            "group", "saved", "broker"
        }  # fmt: skip
        assert await get(worker, "/healthz") == (200, "ok\n")
        await worker.ready()
        assert await get(worker, "/readyz") == (200, "ok\n")
        worker.app.rebalancing = True  # as Faust says while partitions move
        assert await get(worker, "/readyz") == (
            503, "group: partitions are being assigned\nsaved: totals and states are being read back\n",
        )  # fmt: skip
        worker.app.rebalancing = False


# --------------------------------------------------------------------------------------------------- as a process


async def answer(settings: Settings, path: str) -> tuple[int, str]:
    """What a worker process says; 0 where nobody answers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session,
            session.get(f"http://127.0.0.1:{settings.web_port}{path}") as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""


async def until_answered(settings: Settings, path: str, status: int, text: str = "") -> None:
    async def answered() -> bool:
        found, said = await answer(settings, path)
        return found == status and text in said

    await until(answered)


@pytest.mark.integration
async def test_a_process_in_which_something_stands_still_says_what_and_ends_with_1(tmp_path: Path):
    with EmbeddedBroker() as broker:
        said = await asyncio.gather(
            *(fed(settings_for(broker, tmp_path, action), action) for action in ("hang", "block"))
        )
    assert "the agent on hang.predictions has not moved for" in said[0]
    assert "the event loop does not turn any more" in said[1]


@pytest.mark.integration
async def test_a_process_whose_broker_is_gone_lives_and_is_not_ready(tmp_path: Path):
    with EmbeddedBroker() as broker:
        settings = settings_for(broker, tmp_path, "alone")
        process = await start_worker(settings)
        await until_answered(settings, "/readyz", 200)
    await until_answered(settings, "/readyz", 503, "broker: no answer:")
    assert await answer(settings, "/healthz") == (200, "ok\n")
    process.kill()
    await process.communicate()


def settings_for(broker: EmbeddedBroker, folder: Path, name: str) -> Settings:
    return Settings(
        bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"{name}.", group=name, partitions=1,
        state_dir=folder / name, web_port=free_port(), request_timeout_s=4,
    )  # fmt: skip


async def fed(settings: Settings, action: str) -> str:
    """Run a worker with a failpoint, give it a record, and return what it has logged when it has ended with 1."""
    process = await start_worker(settings, **{VARIABLE: f"{Place.BEFORE_COUNT}={action}"})
    await until_answered(settings, "/readyz", 200)
    await produce(settings, settings.topic("predictions"), predictions(range(1)))
    output, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == EXIT_CRASHED, errors.decode()
    return (output + errors).decode()
