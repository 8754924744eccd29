"""Workers as real processes, started again by a supervisor when they end by themselves, as in production."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from agents.broker import HOST, free_port
from agents.failpoints import VARIABLE
from agents.settings import Settings
from schemas.profiles import ProfileTotal

_STOPPED_WITHIN_S: Final = 60.0
_READY_WITHIN_S: Final = 180.0


@dataclass(slots=True)
class Worker:
    """One place in the deployment, and the process that fills it now."""

    number: int
    port: int
    process: Process
    exit_codes: list[int] = field(default_factory=list)
    """Of the processes that ended here by themselves or were killed."""
    wanted: bool = True


class Workers:
    """A deployment: at the end of the block all its processes are gone.

    Parameters
    ----------
    settings
        Of the workers.
    folder
        For their logs and states.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._supervisors: dict[int, asyncio.Task[None]] = {}
        self.all: list[Worker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._supervisors.values():
            task.cancel()
        await asyncio.gather(*self._supervisors.values(), return_exceptions=True)
        for worker in self.all:
            if worker.process.returncode is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.kill()
                await worker.process.wait()

    async def start(self, failpoint: str | None = None) -> Worker:
        """Start one more worker; a failpoint is set for its first process only."""
        number, port = len(self.all), free_port()
        worker = Worker(number, port, await self._spawn(number, port, failpoint))
        self.all.append(worker)
        self._supervisors[number] = asyncio.create_task(self._supervise(worker))
        return worker

    async def stop(self, worker: Worker) -> int:
        """End a worker in order, and return its exit code."""
        worker.wanted = False
        worker.process.send_signal(signal.SIGTERM)
        async with self._within(_STOPPED_WITHIN_S, f"worker {worker.number} did not stop"):
            return await worker.process.wait()

    async def until_ready(self, worker: Worker) -> None:
        """Wait until a worker says that it does its work."""
        why = f"worker {worker.number} was not ready"
        async with self._within(_READY_WITHIN_S, why), aiohttp.ClientSession() as web:
            while not await _is_ready(web, worker.port):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(0.1)

    async def until_ended(self, worker: Worker, times: int = 1) -> None:
        """Wait until so many processes have ended at a worker's place."""
        why = f"{len(worker.exit_codes)} of {times} processes of worker {worker.number} have ended"
        async with self._within(_READY_WITHIN_S, why):
            while len(worker.exit_codes) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def totals(self, models: tuple[str, ...]) -> list[ProfileTotal]:
        """The running totals of all partitions, as the workers show them over HTTP."""
        found = []
        async with self._within(_READY_WITHIN_S, "/totals did not answer"), aiohttp.ClientSession() as web:
            for worker in self.all:
                for model in models if worker.wanted else ():
                    async with web.get(f"http://{HOST}:{worker.port}/totals", params={"model": model}) as answer:
                        shown: list[dict[str, Any]] = (await answer.json())["totals"]
                    for each in shown:
                        position, committed = each.pop("position"), each.pop("committed")
                        assert committed <= position
                        found.append(ProfileTotal.model_validate(each))
        return found

    def held(self, worker: Worker) -> tuple[int, int]:
        """Open files and threads of the process that fills a place now."""
        here = Path(f"/proc/{worker.process.pid}")
        return len(list((here / "fd").iterdir())), len(list((here / "task").iterdir()))

    async def metric(self, worker: Worker, name: str) -> dict[tuple[str, ...], float]:
        """What a worker says of a metric, by the values of its labels in the order of their names."""
        async with aiohttp.ClientSession() as web, web.get(f"http://{HOST}:{worker.port}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
            samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in samples}

    def last_words(self) -> str:
        """The ends of all logs, for whoever has to find out what went wrong."""
        logs = sorted(self._folder.glob("worker-*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3_000:]}" for log in logs)

    @asynccontextmanager
    async def _within(self, seconds: float, why: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise TimeoutError(f"{why} within {seconds:g} s\n{self.last_words()}") from None

    async def _supervise(self, worker: Worker) -> None:
        while True:
            code = await worker.process.wait()
            worker.exit_codes.append(code)
            if not worker.wanted:
                return
            await asyncio.sleep(0.2)
            worker.process = await self._spawn(worker.number, worker.port, None)

    async def _spawn(self, number: int, port: int, failpoint: str | None) -> Process:
        chosen = self._settings.model_dump(mode="json", exclude_defaults=True)
        chosen |= {"web_port": port, "state_dir": str(self._folder / f"state-{number}")}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
        clean |= {f"DRIFTLINE_{name.upper()}": str(value) for name, value in chosen.items()}
        if failpoint is not None:
            clean[VARIABLE] = failpoint
        with (self._folder / f"worker-{number}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agents.worker", env=clean, stdin=DEVNULL, stdout=log, stderr=log
            )


async def _is_ready(web: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with web.get(f"http://{HOST}:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
