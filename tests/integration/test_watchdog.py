"""The watchdog on a real worker: what stands still is named, what need not move is left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from agents.broker import EmbeddedBroker
from agents.errors import StuckError
from agents.failpoints import VARIABLE, Place, arm
from agents.settings import Settings
from agents.watchdog import LOOK_EVERY_S
from agents.worker import WorkerHandle, running_worker
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.wait import eventually
from tests.support.worker import STABLE_ROWS, committed, prediction, predictions, until, watched

TWO_MINUTES = 120.0


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
        (Place.BEFORE_PUBLISH, "what is committed of .*predictions/0"),
        (Place.BEFORE_COMMIT, "what is committed of .*predictions/0"),
        (Place.FOLDED, "the agent on .*profiles"),
        (Place.BEFORE_SAVE, "what is committed of .*profiles"),
        (Place.BEFORE_ANSWER, "the agent on .*drift-events"),
    ],
)
async def test_a_step_that_hangs_while_there_is_work_is_named_within_a_minute(
    settings: Settings, place: Place, stuck: str
):
    settings, clock = with_web(settings, publish_interval_s=0.2, save_interval_s=0.2), Clock()
    topic = settings.topic("predictions")
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await worker.ready()
        await produce(settings, topic, predictions(range(10)))
        await until_counted(settings, 10)
        arm({VARIABLE: f"{place}=hang"})
        await produce(settings, topic, predictions(range(10, STABLE_ROWS)))
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


async def until_counted(settings: Settings, offset: int) -> None:
    async def counted() -> bool:
        return (await committed(settings, "predictions")).get(0, 0) >= offset

    await until(counted)


# ------------------------------------------------------------------------------------------- what is left alone


async def test_a_worker_that_has_nothing_to_do_is_not_stuck(settings: Settings):
    clock = Clock()
    async with running_worker(with_web(settings), clock=clock) as worker:
        await worker.ready()
        await look_for(worker, clock, 2 * TWO_MINUTES)


async def test_rows_that_wait_for_the_next_cut_are_no_standstill(settings: Settings):
    settings, clock = with_web(settings, publish_every_rows=100), Clock()
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await produce(settings, settings.topic("predictions"), predictions(range(250)))
        await until_counted(settings, 200)
        await look_for(worker, clock, 2 * TWO_MINUTES)
    assert (await committed(settings, "predictions"))[0] == 200


async def test_markers_of_transactions_at_the_end_of_a_log_are_no_standstill(settings: Settings):
    settings, clock = with_web(settings), Clock()
    topic = settings.topic("predictions")
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await produce(settings, topic, predictions(range(10)), transactional_id=f"{topic}-1")
        await produce(settings, topic, [(None, prediction(11))], transactional_id=f"{topic}-2", abort=True)
        await until_counted(settings, 10)
        await look_for(worker, clock, 2 * TWO_MINUTES)


async def test_a_process_that_stood_still_as_a_whole_is_not_stuck_when_it_comes_back(settings: Settings):
    settings, clock = with_web(settings), Clock()
    async with running_worker(settings, clock=clock) as worker:
        await register(settings, watched())
        await worker.ready()
        arm({VARIABLE: f"{Place.BEFORE_COUNT}=hang"})
        await produce(settings, settings.topic("predictions"), predictions(range(10)))
        await eventually(lambda: any(worker.app.consumer.handed(tp) for tp in worker.app.consumer.owned()))
        await worker.watchdog.look()
        clock.now += 10 * TWO_MINUTES  # stopped, and continued
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


@pytest.mark.integration
async def test_a_worker_whose_broker_is_gone_lives_and_is_not_ready_until_the_watchdog_has_had_enough(tmp_path: Path):
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap_servers=broker.bootstrap_servers, web_port=0, request_timeout_s=3,
                            state_dir=tmp_path)  # fmt: skip
        clock = Clock()
        async with running_worker(settings, clock=clock) as worker:
            await worker.ready()
            assert await get(worker, "/readyz") == (200, "ok\n")
            broker.stop()
            await worker.watchdog.look()
            assert await get(worker, "/healthz") == (200, "ok\n")
            status, reasons = await get(worker, "/readyz")
            assert (status, reasons.splitlines()[-1][:18]) == (503, "broker: no answer:")
            with pytest.raises(StuckError, match="the broker has not moved"):
                await look_for(worker, clock, 30.0)


@pytest.mark.integration
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
