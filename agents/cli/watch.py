"""``driftline watch``."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from agents.cli.common import BootstrapServers, out, reach, run_quietly, settings_for, taught

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from agents.settings import Settings
    from schemas.outbound import DriftEvent, ModelStatus

EVENTS_SHOWN: Final = 12


@taught
def watch(
    once: Annotated[bool, typer.Option("--once", help="Print what is there now and end.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """
    Show models, their tiers and the last drift events as they come. Joins no group: it takes nothing from anybody.

    [bold]Examples[/bold]

    $ driftline watch
    $ driftline watch --once --bootstrap-servers kafka-1:9092
    """
    settings = settings_for(bootstrap_servers)
    with contextlib.suppress(KeyboardInterrupt):
        run_quietly(_watch(settings, once=once))


class Board:
    """What is known of models and events."""

    def __init__(self) -> None:
        self._statuses: dict[tuple[str, str, str], ModelStatus] = {}
        self._events: deque[DriftEvent] = deque(maxlen=EVENTS_SHOWN)
        self._seen: deque[str] = deque(maxlen=1_000)

    def take(self, record: ConsumerRecord[bytes, bytes], *, is_status: bool) -> None:
        """Take in one record; what is no event of ours is passed over."""
        from pydantic import ValidationError

        from schemas import codec
        from schemas.outbound import DriftEvent, ModelStatus

        try:
            if not is_status:
                self._add(codec.decode(DriftEvent, record.value or b""))
            elif record.value is None:
                self._statuses.pop(tuple((record.key or b"").decode().split("/")), None)
            else:
                status = codec.decode(ModelStatus, record.value)
                self._statuses[status.model, status.version, status.stage.value] = status
        except ValidationError:
            return

    def _add(self, event: DriftEvent) -> None:
        if event.id not in self._seen:  # a repeat has the same id
            self._seen.append(event.id)
            self._events.append(event)

    def __rich__(self) -> Group:
        from agents.screen import event_line, models_table

        if not self._statuses:
            return Group(Text("no model has been heard of yet: is a worker running?", style="dim"))
        notes = [Text(f"note  {status.model} {status.version}: {status.note}", style="yellow")
                 for status in self._statuses.values() if status.note]  # fmt: skip
        lines = [Text(f"{event.model} {event.version}  ", style="bold").append_text(event_line(event))
                 for event in reversed(self._events)]  # fmt: skip
        title = Text("\nlast drift events" if lines else "\nno drift events yet", style="dim")
        return Group(models_table(self._statuses.values()), *notes, title, *lines)


async def _watch(settings: Settings, *, once: bool) -> None:
    from agents.log_reader import LogReader

    await reach(settings, "model-status", "drift-events")
    board = Board()
    topics = {settings.topic("model-status"): True, settings.topic("drift-events"): False}

    async def follow(reader: LogReader, *, is_status: bool) -> None:
        async for records in reader.follow():
            for record in records:
                board.take(record, is_status=is_status)

    async with contextlib.AsyncExitStack() as stack:
        readers = {topic: await stack.enter_async_context(LogReader(settings, topic)) for topic in topics}
        for topic, reader in readers.items():
            async for records in reader.read_to_end():
                for record in records:
                    board.take(record, is_status=topics[topic])
        if once:
            out.print(board)
            return
        with Live(board, console=out, refresh_per_second=4, screen=out.is_terminal):
            await asyncio.gather(*(follow(reader, is_status=topics[topic]) for topic, reader in readers.items()))
