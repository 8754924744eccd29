"""What the demo knows of the world, all of it from topics that anybody can read; and how it shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
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
from agents.screen import event_line, labels_line, metrics_table, number, request_line, signals_table, tier_text
from agents.settings import Settings
from schemas import codec
from schemas.outbound import DriftEvent, IncidentStatus, MetricStatus, ModelStatus, SignalStatus
from schemas.performance import Metric
from schemas.responses import RetrainRequest

ZONE: Final = ZoneInfo(TIMEZONE)
METRICS: Final = (Metric.AUC, Metric.ACCURACY, Metric.BRIER)
"""Those that are shown, of all that a status holds."""
_LINES: Final = 6
"""Events shown at a time, at least where there is room."""
_FRAME_LINES: Final = 14
"""Lines of the wide screen above and below the signals."""
_OTHER_LINES: Final = 21
"""Lines of the narrow screen that are no signals."""
_WIDE: Final = 110
"""From so many columns on, signals and events stand side by side."""


@dataclass(slots=True)
class Findings:
    """What the worker has said so far."""

    status: ModelStatus | None = None
    months: dict[tuple[int, int], ModelStatus] = field(default_factory=dict)
    """The last status of each month of event time, by year and month."""
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
            if message.time is not None:
                at = message.time.astimezone(ZONE)
                self.months[at.year, at.month] = message
        elif isinstance(message, DriftEvent) and message.id not in {known.id for known in self.events}:
            before = next((each for each in reversed(self.events) if each.incident_id == message.incident_id), None)
            self.events.append(message)
            self._tell(event_line(message, ZONE, before))
        elif isinstance(message, RetrainRequest) and message.id not in {known.id for known in self.requests}:
            self.requests.append(message)
            self._tell(request_line(message, ZONE))

    def _tell(self, line: Text) -> None:
        self.lines.append(line)
        self.told(line)

    @property
    def rows_judged(self) -> int:
        """Predictions that the worker has judged."""
        return self.status.rows if self.status is not None else 0

    @property
    def labels_judged(self) -> int:
        """Outcomes that have found their prediction, and were judged."""
        return self.status.labels.rows if self.status is not None and self.status.labels is not None else 0

    @property
    def diagnosis(self) -> Text | None:
        """Which drift the open incident is, as said last, and when that was."""
        last = self.events[-1] if self.events else None
        if last is None or last.status is IncidentStatus.RESOLVED or last.diagnosis is None:
            return None
        day = "" if last.time is None else f"{last.time.astimezone(ZONE):%Y-%m-%d}  "
        return Text(day, style="bold").append(last.diagnosis.explanation, style="not bold")


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
        status = self._findings.status
        is_wide = options.max_width >= _WIDE
        signals = status.signals if status is not None else ()
        if is_wide:
            shown = surest(signals, max(console.height - _FRAME_LINES, 4))
            body: Sequence[RenderableType] = (
                _side_by_side(self._performance(), self._known()),
                Text(),
                _side_by_side(signals_table(shown), self._log(max(_LINES, len(shown)))),
            )
        else:
            shown = surest(signals, max(console.height - _OTHER_LINES, 3))
            body = (self._performance(), self._known(), Text(), signals_table(shown), Text(), self._log(2))
        yield Panel(
            Group(self._head(is_wide=is_wide), Text(), *body), title=self._title, title_align="left",
            border_style="dim", padding=(0, 1),
        )  # fmt: skip

    def _head(self, *, is_wide: bool) -> Text:
        played, status = self._played, self._findings.status
        at = datetime.fromtimestamp(played.now, UTC).astimezone(ZONE) if played.now else None
        tier = tier_text(status.tier) if status is not None else Text("waiting", style="dim")
        pace = [(f"   {played.events_per_s:>6,.0f}", "bold"), (" events/s", "dim")] if is_wide else []
        return Text.assemble(
            (f"{at:%d %b %Y}" if at else "…", "bold"),
            (f"   {played.predictions:>7,}", "bold"), (" predictions", "dim"),
            (f"   {played.outcomes:>7,}", "bold"), (" outcomes", "dim"),
            *pace, ("   drift ", "dim"), tier,
        )  # fmt: skip

    def _performance(self) -> RenderableType:
        status = self._findings.status
        return metrics_table(shown_metrics(status) if status is not None else ())

    def _known(self) -> RenderableType:
        """How late labels come, and which drift it is."""
        status, table = self._findings.status, Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        labels = status.labels if status is not None else None
        table.add_row("labels", labels_line(labels) if labels is not None else Text("none yet", style="dim italic"))
        table.add_row("diagnosis", self._findings.diagnosis or Text("none yet", style="dim italic"))
        return table

    def _log(self, most: int) -> Group:
        lines = self._findings.lines[-most:]
        return Group(Text("what driftline said", style="dim"), *(lines or [Text("nothing yet", style="dim italic")]))


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    columns = Table.grid(padding=(0, 4))
    columns.add_column(no_wrap=True)
    columns.add_row(left, right)
    return columns


def shown_metrics(status: ModelStatus) -> list[MetricStatus]:
    """The metrics of a status that the demo shows, in its order."""
    by_name = {each.metric: each for each in status.performance}
    return [by_name[name] for name in METRICS if name in by_name]


def surest(signals: Sequence[SignalStatus], most: int) -> list[SignalStatus]:
    """The signals that have a tier or the most evidence, at most so many, in their own order."""
    ranked = sorted(signals, key=lambda each: (-each.tier.rank, -each.evidence))[:most]
    return [each for each in signals if each in ranked]


def plain_progress(findings: Findings, played: Played) -> Text:
    """One line of progress, where there is no terminal to draw on."""
    at = datetime.fromtimestamp(played.now, UTC).astimezone(ZONE)
    status = findings.status
    line = Text(
        f"{at:%Y-%m-%d}  {played.predictions:>7,} predictions  {played.outcomes:>7,} outcomes  "
        f"{played.events_per_s:>6,.0f} events/s  tier {status.tier.value if status is not None else 'waiting'}"
    )
    for each in shown_metrics(status) if status is not None else ():
        if each.value is not None and each.metric is not Metric.BRIER:
            line.append(f"  {each.metric} {number(each.value)}")
            line.append(f" (estimated {number(each.estimate)})" if each.estimate is not None else "")
    return line
