"""A worker that has stopped leaves nothing behind in its process: no task, no thread, no open file, however often."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.metrics import Metrics
from agents.settings import Settings
from agents.topics import ensure_topics
from agents.worker import running_worker
from tests.support.outcomes import labelled, outcome, prediction
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.wait import eventually

CYCLES = 20
ROWS = 20
"""Predictions with their labels in each."""
FIRST = 2
"""Cycles in which libraries open what they keep for good: pools of threads, logs, time zones."""

only_on_the_embedded_broker = pytest.mark.parametrize(
    "broker", [pytest.param("embedded_broker", marks=pytest.mark.integration)], indirect=True
)


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    tasks: frozenset[str]
    threads: tuple[str, ...]
    native_threads: int
    files: tuple[str, ...]


def held() -> Held:
    here = Path("/proc/self")
    files = []
    for entry in (here / "fd").iterdir():
        try:
            files.append(str(entry.readlink()).partition(":[")[0])
        except FileNotFoundError:  # the folder that is being listed
            continue
    return Held(
        frozenset(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()),
        tuple(sorted(thread.name for thread in threading.enumerate())),
        len(list((here / "task").iterdir())),
        tuple(sorted(files)),
    )


def joined(metrics: Metrics) -> float:
    return metrics.value("driftline_outcomes_total", model="m", fate="matched")


async def feed(settings: Settings, cycle: int) -> None:
    """Produce something to count, to judge, to join and to refuse."""
    numbers = range(cycle * ROWS, (cycle + 1) * ROWS)
    await produce(settings, settings.topic("predictions"), [*map(prediction, numbers), (None, b"{")], cycle % 2)
    await produce(settings, settings.topic("outcomes"), list(map(outcome, numbers)), cycle % 2)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed on Linux only")
@only_on_the_embedded_broker
async def test_nothing_is_left_of_a_worker_that_was_started_and_stopped_again_and_again(settings: Settings) -> None:
    settings = settings.model_copy(update={"publish_interval_s": 0.1, "save_interval_s": 0.1, "web_port": 0})
    await ensure_topics(settings)
    await register(settings, labelled())
    kept: list[Held] = []
    for cycle in range(FIRST + CYCLES):
        async with running_worker(settings) as worker:
            await worker.ready()
            await feed(settings, cycle)
            await eventually(lambda metrics=worker.metrics: joined(metrics) >= ROWS)
        kept.append(held())
    after, last = kept[FIRST - 1], kept[-1]
    assert last.tasks <= after.tasks
    assert last.threads == after.threads
    assert last.native_threads <= after.native_threads
    assert last.files == after.files
