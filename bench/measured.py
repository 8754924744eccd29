"""Processes that are measured, and their speed read from outside.

A rate is taken between the first sample after the warm-up and the last before feeding ends, so that neither starting
(imports, joining the group) nor draining is part of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from agents.broker import free_port
from agents.settings import PREFIX, Settings
from agents.tasks import end_tasks

WARM_UP_S: Final = 1.5
_STOP_WITHIN_S: Final = 30.0
_SUBJECT: Final = "bench.subjects"
_WORKER: Final = ("-m", "agents.cli", "worker")

Sample = tuple[float, int]
"""Monotonic time, records so far."""


class Measured(ABC):
    """A process that consumes records."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.process: asyncio.subprocess.Process | None = None

    @abstractmethod
    def done(self) -> int:
        """How many records it has taken, as far as is known."""

    def rate(self) -> float:
        """Records a second."""
        started = next((at for at, records in self.samples if records), None)
        steady = [] if started is None else [sample for sample in self.samples if sample[0] >= started + WARM_UP_S]
        if len(steady) < 2 or steady[-1][1] == steady[0][1]:
            raise RuntimeError("nothing was consumed after the warm-up: raise --seconds")
        (begin, first), (end, last) = steady[0], steady[-1]
        return (last - first) / (end - begin)

    def rate_from_start(self) -> float:
        """Records a second until the last one came, from when reading began."""
        begin = max(at for at, records in self.samples if not records)
        end, last = next(sample for sample in self.samples if sample[1] == self.samples[-1][1])
        return last / (end - begin)

    def check(self) -> None:
        """Raise if the process has ended."""
        if self.process is not None and self.process.returncode is not None:
            raise RuntimeError(f"the process that is measured has ended with code {self.process.returncode}")


class Subject(Measured):
    """One of ``bench.subjects``."""

    def done(self) -> int:
        """How many records it says that it has taken."""
        return self.samples[-1][1] if self.samples else 0

    @asynccontextmanager
    async def running(self, name: str, servers: str, topic: str) -> AsyncIterator[None]:
        """Run it for as long as the block lasts."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _SUBJECT, name, servers, topic, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        reading = asyncio.create_task(self._read(self.process))
        try:
            yield
        finally:
            reading.cancel()
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                sample = json.loads(line)
                self.samples.append((sample["time"], sample["records"]))


class Worker(Measured):
    """driftline's worker, all of it. Its speed is that of the offsets it commits: what is counted *and* published."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self._counted = 0
        self._port = free_port()

    def done(self) -> int:
        """How many records it has counted."""
        return self._counted

    @property
    def url(self) -> str:
        """Of its web server."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the process."""
        if self.process is None:
            raise RuntimeError("the worker was not started")
        return self.process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it with default settings, and follow its progress, for as long as the block lasts."""
        environment = {
            "BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "TOPIC_PREFIX": self.settings.topic_prefix,
            "GROUP": self.settings.group,
            "PARTITIONS": str(self.settings.partitions),
            "WEB_PORT": str(self._port),
            "LOG_LEVEL": "ERROR",
            "STATE_DIR": str(self.settings.state_folder),
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *_WORKER, env=os.environ | {PREFIX + key: value for key, value in environment.items()}
        )
        following = [asyncio.create_task(self._follow_counts()), asyncio.create_task(self._follow_commits())]
        try:
            await self._ready()
            yield
        finally:
            await end_tasks(following)
            await self._stop()

    async def _ready(self, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                self.check()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise RuntimeError(f"the worker is not ready after {within_s:g} s")

    async def _stop(self) -> None:
        assert self.process is not None  # noqa: S101
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def _follow_counts(self) -> None:
        name = f'driftline_records_total{{topic="{self.settings.topic("predictions")}"}}'
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self._port}/metrics") as answer:
                        for line in (await answer.text()).splitlines():
                            if line.startswith(name):
                                self._counted = int(float(line.rsplit(" ", 1)[1]))
                await asyncio.sleep(0.25)

    async def _follow_commits(self) -> None:
        topic = self.settings.topic("predictions")
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        try:
            while True:
                committed: dict[TopicPartition, OffsetAndMetadata] = {}
                with contextlib.suppress(KafkaError):  # Apache Kafka makes its topic of offsets when the group joins
                    committed = await admin.list_consumer_group_offsets(self.settings.group)
                records = sum(max(0, found.offset) for tp, found in committed.items() if tp.topic == topic)
                if not self.samples or records != self.samples[-1][1]:
                    self.samples.append((time.monotonic(), records))
                await asyncio.sleep(0.03)
        finally:
            await admin.close()
