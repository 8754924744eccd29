"""What the demo says at its end: what drifted, when, how sure, what was asked for; and what the outcomes say of it.

The outcomes (did the flight arrive late?) were not sent to the worker. They are shown beside what it found, so that a
person can judge whether the alarms were worth having.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agents.demo.flights import Flights
from agents.demo.live import ZONE, Findings
from agents.demo.model import auc
from agents.screen import by_incident, incident_block, short

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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
    temperature: float
    """Mean, in degrees Fahrenheit."""


def measure(name: str, flights: Flights, scores: NDArray[np.float64]) -> Period:
    """How the model did on some flights; shares and AUC are over those that arrived."""
    arrived = ~np.isnan(flights.late)
    return Period(
        name=name,
        flights=len(flights),
        late=float(flights.late[arrived].mean()),
        predicted=float(scores[arrived].mean()),
        auc=auc(flights, scores),
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
    parts += [_quiet(findings), Text(), _outcomes(training, periods)]
    return Group(*parts)


def _quiet(findings: Findings) -> Text:
    """The signals in which nothing was found."""
    if findings.status is None:
        return Text("the worker has not said anything")
    drifted = {verdict.signal for event in findings.events for verdict in event.signals}
    quiet = [short(signal.signal) for signal in findings.status.signals if signal.signal not in drifted]
    return Text("no drift in  ", style="dim").append(", ".join(quiet), style="default")


def _outcomes(training: Period, periods: list[Period]) -> RenderableType:
    """The model's answers against what happened."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("flights", "°F", "late", "predicted", "AUC"):
        table.add_column(name, justify="right")
    for period in (training, *periods):
        table.add_row(period.name, f"{period.flights:,}", f"{period.temperature:.0f}", f"{period.late:.1%}",
                      f"{period.predicted:.1%}", f"{period.auc:.2f}",
                      style="bold" if period is training else "")  # fmt: skip
    title = Text("what the outcomes say", style="bold").append("  (driftline was not told)", style="dim")
    return Group(title, Padding(table, (0, 0, 0, 2)))
