"""What the demo says at its end: what drifted, when, how sure, what was asked for; and how the model performed.

The latter twice: as the worker said it, from the outcomes that it had got and, for flights under way, as an estimate;
and by whole months, computed beside it from all outcomes, so that a person can judge whether the alarms were right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agents.demo.flights import Flights
from agents.demo.live import ZONE, Findings, shown_metrics
from agents.demo.model import auc as auc_of
from agents.screen import by_incident, incident_block, labels_line, number, short
from schemas.outbound import MetricStatus

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Period:
    """How the model did in a part of the year."""

    name: str
    flights: int
    late: float
    """Share of the flights that arrived late."""
    predicted: float
    """Mean of the probabilities for the same flights."""
    auc: float
    brier: float
    """Mean squared distance of the probabilities from what happened."""
    temperature: float
    """Mean, in degrees Fahrenheit."""


def measure(name: str, flights: Flights, scores: NDArray[np.float64]) -> Period:
    """How the model did on some flights; shares and AUC are over those that arrived."""
    arrived = flights.arrived
    return Period(
        name=name,
        flights=len(flights),
        late=float(flights.late[arrived].mean()),
        predicted=float(scores[arrived].mean()),
        auc=auc_of(flights, scores),
        brier=float(np.mean((scores - flights.late)[arrived] ** 2)),
        temperature=float(np.nanmean(flights.column("temperature"))),
    )


def by_month(flights: Flights, scores: NDArray[np.float64]) -> Iterator[Period]:
    """How the model did in each month of which there are enough flights to say so."""
    months = flights.months
    for month in np.unique(months):
        chosen = months == month
        if chosen.sum() >= 1_000:
            yield measure(_MONTHS[month - 1], flights[chosen], scores[chosen])


def summary(findings: Findings, training: Period, periods: list[Period]) -> RenderableType:
    """All of it."""
    parts: list[RenderableType] = []
    for life in by_incident(findings.events):
        requests = [request for request in findings.requests if request.incident_id == life[0].incident_id]
        parts += [incident_block(life, requests, findings.status, ZONE), Text()]
    if not parts:
        parts += [Text("driftline found no drift.", style="bold"), Text()]
    parts += [_quiet(findings), Text(), _performance(findings), Text(), _months(training, periods)]
    return Group(*parts)


def _quiet(findings: Findings) -> Text:
    """The signals in which nothing was found."""
    if findings.status is None:
        return Text("the worker has not said anything")
    drifted = {verdict.signal for event in findings.events for verdict in event.signals}
    quiet = [short(signal.signal) for signal in findings.status.signals if signal.signal not in drifted]
    return Text("no drift in  ", style="dim").append(", ".join(quiet), style="default")


def _performance(findings: Findings) -> RenderableType:
    """What the worker said of the performance at the end of each month."""
    table = _table("", "AUC", "estimated", "accuracy", "estimated", "Brier")
    last = [each for each in findings.months.values() if any(metric.value is not None for metric in each.performance)]
    if last:
        auc, accuracy, brier = (number(each.reference) for each in shown_metrics(last[0]))
        table.add_row("reference", auc, "", accuracy, "", brier, style="bold")
    for status in last:
        day = f"{status.time.astimezone(ZONE):%-d %b}" if status.time is not None else ""
        table.add_row(day, *_row(*shown_metrics(status)))
    title = Text("performance, as driftline said", style="bold")
    title.append("  (half of the weight on the last 2,048 flights; ±: 95 % interval)", style="not bold dim")
    labels = findings.status.labels if findings.status is not None else None
    said = [Padding(Text.assemble(("outcomes  ", "dim"), labels_line(labels)), (0, 0, 0, 2))] if labels else []
    return Group(title, *said, Padding(table, (0, 0, 0, 2)))


def _row(auc: MetricStatus, accuracy: MetricStatus, brier: MetricStatus) -> Iterator[str]:
    for each in (auc, accuracy):
        yield _beside(each.value, each.interval)
        yield _beside(each.estimate, each.estimate_interval)
    yield _beside(brier.value, brier.interval)


def _beside(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" + (f" ± {(interval[1] - interval[0]) / 2:.2f}" if interval is not None else "")


def _months(training: Period, periods: list[Period]) -> RenderableType:
    """The model's answers against what happened."""
    table = _table("", "flights", "°F", "late", "predicted", "AUC", "Brier")
    for period in (training, *periods):
        table.add_row(period.name, f"{period.flights:,}", f"{period.temperature:.0f}", f"{period.late:.1%}",
                      f"{period.predicted:.1%}", f"{period.auc:.2f}", f"{period.brier:.3f}",
                      style="bold" if period is training else "")  # fmt: skip
    title = Text("whole months", style="bold").append("  (computed beside it, from all outcomes)", style="not bold dim")
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _table(first: str, *names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table
