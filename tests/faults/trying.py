"""How a fault is tried: a deployment at work, what goes wrong with it, and what is found afterwards."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.settings import Settings
from agents.topics import ensure_topics
from tests.faults.oracle import Oracle
from tests.faults.producing import Habits, Producer
from tests.faults.proxy import Proxy
from tests.faults.rig import PRODUCERS_DETOUR, WORKERS_DETOUR, Rig
from tests.faults.stream import MODELS, Stream, watched
from tests.faults.trial import AGE_S, RAW, Scale, Trial
from tests.faults.workers import Workers
from tests.support.profiling import register


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the table at the end."""

    fault: str
    events: int
    lost: int
    double: int
    recovery_s: float | None
    """From the end of the fault until everything that was there by then was counted and committed; None: not asked."""
    problems: tuple[str, ...] = ()
    note: str = ""
    events_per_s: float = 0.0
    """Records of the input topics that were produced in a second, as long as the producer was at it."""


Act = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong.

    Attributes
    ----------
    act
        Does it; returns when it is over.
    workers
        So many are there from the beginning.
    detours
        Whose way to the broker leads through a proxy.
    habits, clock_s
        What is wrong with the producer.
    shifts
        Whether one of the models drifts.
    failpoint
        Of the first worker.
    settings
        Of the workers, where they are not the usual.
    slow
        Takes more than about ten seconds.
    """

    act: Act
    workers: int = 1
    detours: tuple[str, ...] = ()
    habits: Habits = field(default_factory=Habits)
    clock_s: tuple[float, ...] = (0.0,)
    shifts: bool = False
    failpoint: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False


async def try_fault(name: str, fault: Fault, rig: Rig, folder: Path, scale: Scale) -> Verdict:
    """Run a deployment, let the fault act while events flow, and hold what was counted against the oracle."""
    prefix = f"f{uuid.uuid4().hex[:10]}."
    direct = Settings(
        bootstrap_servers=rig.kafka.bootstrap_servers, topic_prefix=prefix, group=f"{prefix}worker", partitions=2,
        session_timeout_s=4.0, heartbeat_interval_s=0.5, request_timeout_s=10.0, publish_interval_s=0.1,
        save_interval_s=0.5,
    )  # fmt: skip
    specs = [watched(model) for model in MODELS]
    await ensure_topics(direct)
    await register(direct, *specs)
    since = float(int(time.time() - AGE_S))
    stream = Stream(since, scale.numbers // 2 if fault.shifts else None, fault.clock_s, scale.tick_s)
    async with (
        _proxies(rig, fault) as proxies,
        Workers(_by_way(direct, rig, WORKERS_DETOUR, proxies).model_copy(update=fault.settings), folder) as workers,
    ):
        for number in range(fault.workers):
            first = await workers.start(fault.failpoint if number == 0 else None)
            if fault.failpoint is None:
                await workers.until_ready(first)
        by_way = _by_way(direct, rig, PRODUCERS_DETOUR, proxies)
        async with Producer(by_way, stream, scale.rate, fault.habits) as producer:
            oracle = Oracle(direct.bootstrap_servers, prefix, specs)
            trial = Trial(rig.kafka, direct, scale, workers, producer, oracle, proxies)
            trial.incidents_expected = fault.shifts
            await producer.until(scale.numbers // 4)
            if fault.failpoint is None:
                await trial.until_counted(dict.fromkeys(await trial.ends(*RAW), 1))
                trial.held_before = workers.held(workers.all[0])
            await fault.act(trial)
            over = time.monotonic()
            await trial.until_counted(await trial.ends(*RAW))
            recovery_s = time.monotonic() - over
            await trial.until_told()
            await producer.finish(scale.numbers)
            lost, double = await trial.settle()
    return Verdict(name, trial.oracle.events, lost, double, round(recovery_s, 1),
                   tuple(trial.problems), "; ".join(trial.notes),
                   round(trial.oracle.events / producer.seconds))  # fmt: skip


@asynccontextmanager
async def _proxies(rig: Rig, fault: Fault) -> AsyncIterator[dict[str, Proxy]]:
    proxies = {detour: Proxy(rig.proxies[detour], rig.kafka.inner_port(detour)) for detour in fault.detours}
    for proxy in proxies.values():
        await proxy.__aenter__()
    try:
        yield proxies
    finally:
        for proxy in proxies.values():
            await proxy.__aexit__(None, None, None)


def _by_way(direct: Settings, rig: Rig, detour: str, proxies: Mapping[str, Proxy]) -> Settings:
    if detour not in proxies:
        return direct
    host = direct.bootstrap_servers.rpartition(":")[0]
    return direct.model_copy(update={"bootstrap_servers": f"{host}:{rig.proxies[detour]}"})
