"""A TCP proxy between a client and the broker, which can be told to misbehave while connections are open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from agents.broker import HOST

CHUNK: Final = 65_536
_TURN_S: Final = 0.02


class Manner(StrEnum):
    """How the proxy treats what goes through it."""

    PASS = "pass"  # noqa: S105
    """As it comes."""
    REFUSE = "refuse"
    """Connections are closed, new ones as soon as they come: a broker whose port is closed."""
    BLACKHOLE = "blackhole"
    """Connections stay open and nothing passes: a cut cable."""
    DELAY = "delay"
    """Everything passes `Proxy.delay_s` late."""
    THROTTLE = "throttle"
    """Everything passes, at most `Proxy.bytes_per_s` in each direction of a connection."""


class Proxy:
    """Listens on a port of this machine and connects to another one.

    Parameters
    ----------
    port, target
        Of this machine: where it listens, and what it connects to.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.manner = Manner.PASS
        self.delay_s = 0.3
        self.bytes_per_s = 20_000
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.reset()

    def behave(self, manner: Manner) -> None:
        """Treat all connections in this manner from now on."""
        self.manner = manner
        if manner is Manner.REFUSE:
            self.reset()

    def reset(self) -> None:
        """Break all connections, with what is on its way."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            if self.manner is Manner.REFUSE:
                return
            back, other = await asyncio.open_connection(HOST, self.target)
            self._writers.add(other)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, other))
                both.create_task(self._pump(back, writer))
        except (OSError, ExceptionGroup):
            pass  # one side has gone: the other is told by the end of its connection
        finally:
            for each in (writer, other):
                if each is not None:
                    self._writers.discard(each)
                    with suppress(Exception):
                        each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            while self.manner is Manner.BLACKHOLE:  # noqa: ASYNC110 - an event for each manner would say no more
                await asyncio.sleep(_TURN_S)
            if self.manner is Manner.DELAY:
                await asyncio.sleep(self.delay_s)
            if self.manner is Manner.THROTTLE:
                await asyncio.sleep(len(chunk) / self.bytes_per_s)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError  # ends the other direction too
