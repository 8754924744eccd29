"""What the demo knows of the world, all of it from topics that anybody can read; and how it shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agents.demo.flights import TIMEZONE
from agents.demo.player import Played
from agents.log_reader import LogReader
from agents.screen import event_line, request_line, signals_table, tier_text
from agents.settings import Settings
from schemas import codec
from schemas.outbound import DriftEvent, ModelStatus, RetrainRequest

ZONE: Final = ZoneInfo(TIMEZONE)
_LINES: Final = 8
"""Events shown at a time, at least where there is room."""
_FRAME_LINES: Final = 8
"""Lines of the screen that are neither signals nor events."""
_WIDE: Final = 110
"""From so many columns on, signals and events stand side by side."""


@dataclass(slots=True)
class Findings:
    """What the worker has said so far."""

    status: ModelStatus | None = None
    events: list[DriftEvent] = field(default_factory=list)
    requests: list[RetrainRequest] = field(default_factory=list)
    lines: list[Text] = field(default_factory=list)
    """Events and requests in the order in which they came."""
    told: Callable[[Text], None] = lambda _line: None
    """Is given each new line."""

    def take(self, message: ModelStatus | DriftEvent | RetrainRequest) -> None:
        """Take in a message; a repeat, which has the same id, changes nothing."""
        if isinstance(message, ModelStatus):
            self.status = message
        elif isinstance(message, DriftEvent) and message.id not in {known.id for known in self.events}:
            self.events.append(message)
            self._tell(event_line(message, ZONE))
        elif isinstance(message, RetrainRequest) and message.id not in {known.id for known in self.requests}:
            self.requests.append(message)
            self._tell(request_line(message, ZONE))

    def _tell(self, line: Text) -> None:
        self.lines.append(line)
        self.told(line)

    @property
    def rows_judged(self) -> int:
        """Rows that the worker has judged."""
        return self.status.rows if self.status is not None else 0


async def listen(settings: Settings, findings: Findings) -> None:
    """Follow the topics that the worker writes, until cancelled."""

    async def follow(topic: str, kind: type[ModelStatus] | type[DriftEvent] | type[RetrainRequest]) -> None:
        async with LogReader(settings, settings.topic(topic)) as reader:
            async for records in reader.follow():
                for record in records:
                    if record.value is not None:
                        findings.take(codec.decode(kind, record.value))

    await asyncio.gather(
        follow("model-status", ModelStatus),
        follow("drift-events", DriftEvent),
        follow("retrain-requests", RetrainRequest),
    )


class Board:
    """The live screen.

    Parameters
    ----------
    findings, played
        What is shown; both change while it is.
    title
        Of the whole.
    """

    def __init__(self, findings: Findings, played: Played, title: str) -> None:
        self._findings, self._played, self._title = findings, played, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signals = self._findings.status.signals if self._findings.status is not None else ()
        if options.max_width >= _WIDE:
            columns = Table.grid(padding=(0, 4))
            columns.add_column(no_wrap=True)
            columns.add_row(signals_table(signals), self._log(max(_LINES, len(signals))))
            body: RenderableType = columns
        else:
            free = console.height - len(signals) - _FRAME_LINES
            body = Group(signals_table(signals), Text(), self._log(max(2, min(free, _LINES))))
        yield Panel(
            Group(self._head(), Text(), body), title=self._title, title_align="left", border_style="dim", padding=(0, 1)
        )

    def _head(self) -> Text:
        played, status = self._played, self._findings.status
        at = datetime.fromtimestamp(played.now, UTC).astimezone(ZONE) if played.now else None
        tier = tier_text(status.tier) if status is not None else Text("waiting", style="dim")
        return Text.assemble(
            (f"{at:%d %b %Y}" if at else "…", "bold"),
            (f"   {played.events:>7,}", "bold"), (" predictions", "dim"),
            (f"   {played.events_per_s:>6,.0f}", "bold"), (" events/s", "dim"),
            ("   drift ", "dim"), tier,
        )  # fmt: skip

    def _log(self, most: int) -> Group:
        lines = self._findings.lines[-most:]
        return Group(Text("what driftline said", style="dim"), *(lines or [Text("nothing yet", style="dim italic")]))


def plain_progress(findings: Findings, played: Played) -> Text:
    """One line of progress, where there is no terminal to draw on."""
    at = datetime.fromtimestamp(played.now, UTC).astimezone(ZONE)
    tier = findings.status.tier.value if findings.status is not None else "waiting"
    return Text(
        f"{at:%Y-%m-%d}  {played.events:>7,} predictions  {played.events_per_s:>6,.0f} events/s  "
        f"{findings.rows_judged:>7,} judged  tier {tier}"
    )
