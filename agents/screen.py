"""What people see in a terminal: models, signals, incidents and requests as rich tables and lines.

Used by ``watch``, ``backtest`` and the demo. Times are shown in a zone of the caller's choice, UTC by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from detector.explain import shown_score
from schemas.outbound import (
    BEYOND_LIMIT,
    Change,
    DriftEvent,
    DriftKind,
    Family,
    LabelStatus,
    MetricStatus,
    ModelState,
    ModelStatus,
    SegmentStatus,
    SignalStatus,
    SignalVerdict,
    Tier,
)
from schemas.responses import RetrainRequest

INCIDENTS: Final = {
    Family.DRIFT: "incident",
    Family.QUALITY: "fault of the data",
    Family.SERVICE: "fault of the service",
    Family.BUSINESS: "loss of business",
}
"""What an incident is called."""
MIXED: Final = 0.5
"""From this share on, that a change is one of the mix of segments is shown as news."""

TIER_STYLES: Final = {
    Tier.NONE: "green",
    Tier.MINOR: "yellow",
    Tier.MODERATE: "dark_orange",
    Tier.SIGNIFICANT: "bold red",
}
CHANGE_MARKS: Final = {
    Change.OPENED: "▲",
    Change.REOPENED: "▲",
    Change.ESCALATED: "▲",
    Change.UPDATED: "●",
    Change.EASED: "▽",
    Change.RESOLVED: "✓",
}
MOST_SIGNALS: Final = 5
"""Signals of an incident that are told in full."""
_BAR: Final = 10
_FULL, _EMPTY = "━", "╌"
_UNKNOWN: Final = "–"
_UNITS: Final = {"days": 86_400.0, "hours": 3_600.0, "minutes": 60.0}
"""Seconds. Each is used from two of it on."""


def short(signal: str) -> str:
    """Name of a signal as people say it."""
    return signal.removeprefix("feature:")


def when(time: datetime | None, zone: tzinfo = UTC) -> str:
    """Date and minute."""
    return _UNKNOWN if time is None else f"{time.astimezone(zone):%Y-%m-%d %H:%M}"


def tier_text(tier: Tier) -> Text:
    """The tier in its colour."""
    return Text(tier.value, style=TIER_STYLES[tier])


def evidence_bar(evidence: float, threshold: float) -> Text:
    """How far the evidence is on its way to the threshold, as a bar and a percentage (at most 999)."""
    share = max(0.0, evidence / threshold) if threshold > 0 else 0.0
    filled = min(_BAR, int(share * _BAR + 0.5))
    style = "red" if share >= 1 else "yellow" if share >= 0.5 else "green"
    bar = Text(_FULL * filled, style=style).append(_EMPTY * (_BAR - filled), style="dim")
    return bar.append(f" {min(round(100 * share), 999):>3} %", style=style if share >= 1 else "dim")


def signals_table(signals: Sequence[SignalStatus]) -> Table:
    """Where each signal stands: tier, and how sure."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("signal", no_wrap=True)
    table.add_column("tier", width=11)
    table.add_column("evidence, of what an alarm needs", no_wrap=True)
    for signal in signals:
        bar = Text("not judged", style="dim") if signal.not_judged else evidence_bar(signal.evidence, signal.threshold)
        table.add_row(short(signal.name), tier_text(signal.tier), bar)
    return table


def segments_table(segments: Sequence[SegmentStatus]) -> Table:
    """Where each segment stands: its share of the rows then and now, and the highest tier of its signals."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("segment", overflow="fold")
    for name in ("reference", "now"):
        table.add_column(name, justify="right")
    table.add_column("tier", width=11)
    table.add_column("judged", justify="right", no_wrap=True)
    for each in segments:
        judged = Text(f"{each.judged} of {each.signals}", style="" if each.judged == each.signals else "dim")
        table.add_row(each.segment, f"{each.expected_share:.1%}", f"{each.share:.1%}", tier_text(each.tier), judged)
    return table


def metrics_table(metrics: Sequence[MetricStatus]) -> Table:
    """How the model performs: as labels showed, as the reference did, and as is expected while labels are to come."""
    limit = ("limit",) if any(each.limit is not None for each in metrics) else ()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("metric", no_wrap=True)
    for name in ("recently", "95 %", "reference", *limit, "estimated", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in metrics:
        limits = [number(each.limit) for _ in limit]
        table.add_row(each.metric, number(each.value), span(each.interval), number(each.reference), *limits,
                      number(each.estimate), span(each.estimate_interval))  # fmt: skip
    return table


def number(value: float | None) -> str:
    """Three digits; nothing for None."""
    return "" if value is None else f"{value:.3g}"


def span(interval: tuple[float, float] | None) -> str:
    """Both ends of an interval; nothing for None."""
    return "" if interval is None else f"{interval[0]:.3g}-{interval[1]:.3g}"


def labels_line(labels: LabelStatus) -> Text:
    """How many labels have come, and how late."""
    line = Text(f"{labels.rows:,}", style="bold")
    if labels.coverage is not None:
        line.append(f" ({labels.coverage:.0%} of the predictions)", style="not bold")
    for share, lag in (("half", labels.lag_p50_s), ("nine in ten", labels.lag_p90_s)):
        if lag is not None:
            line.append(f", {share} within {_duration(lag)}", style="not bold")
    return line


def _duration(seconds: float) -> str:
    """So long, in a unit that gives a number that people can picture."""
    for unit, length in _UNITS.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def models_table(statuses: Iterable[ModelStatus], zone: tzinfo = UTC) -> Table:
    """Where each model version stands."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("model", "version", "stage"):
        table.add_column(name, overflow="fold")
    table.add_column("state", width=12)
    table.add_column("drifted", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("newest row", no_wrap=True)
    for status in sorted(statuses, key=lambda each: (-each.tier.rank, each.model, each.version, each.stage)):
        drifted = [short(signal.name) for signal in status.signals if signal.tier is not Tier.NONE]
        table.add_row(
            status.model,
            status.version,
            status.stage,
            _state(status),
            ", ".join(drifted[:3]) + (f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""),
            f"{status.rows:,}" + (f" of {status.rows_wanted:,}" if status.rows_wanted else ""),
            when(status.time, zone),
        )
    return table


def _state(status: ModelStatus) -> Text:
    if status.state is ModelState.WATCHING:
        return tier_text(status.tier)
    return Text(status.state.value, style="cyan" if status.state is ModelState.COLLECTING else "magenta")


def event_line(event: DriftEvent, zone: tzinfo = UTC, before: DriftEvent | None = None) -> Text:
    """One line for a drift event; where it only joins signals to those of the event ``before``, these are named."""
    at = when(event.time, zone) if event.time is not None or event.row is None else f"row {event.row:,}"
    style = "green" if event.change is Change.RESOLVED else TIER_STYLES[event.tier]
    line = Text(f"{CHANGE_MARKS[event.change]} {at}  ", style=style)
    line.append(f"{event.change.value} ", style=style).append(f"{event.tier.value}  ", style=style)
    drifted = [verdict for verdict in event.signals if verdict.tier is not Tier.NONE] or list(event.signals)
    if before is not None and event.change is Change.UPDATED:
        known = {verdict.name for verdict in before.signals if verdict.tier is not Tier.NONE}
        drifted = [verdict for verdict in drifted if verdict.name not in known] or drifted
        line.append("and ")
    return line.append(", ".join(verdict_words(verdict) for verdict in drifted[:3]) + _more(drifted, 3))


def verdict_words(verdict: SignalVerdict) -> str:
    """What changed in a signal: its mean where it has one, else the bin that changed most."""
    if verdict.score_name == BEYOND_LIMIT:
        change = f"{verdict.actual_mean:,.4g}, {shown_score(verdict)}"
    elif verdict.kind in (DriftKind.QUALITY, DriftKind.SERVICE) and verdict.bins:
        change = f"{verdict.bins[0].expected:.1%} → {verdict.bins[0].actual:.1%} {verdict.bins[0].bin}"
    elif verdict.expected_mean is not None and verdict.actual_mean is not None:
        change = f"mean {verdict.expected_mean:,.4g} → {verdict.actual_mean:,.4g}"
    elif verdict.bins:
        worst = verdict.bins[0]
        change = f"{worst.bin} {worst.expected:.1%} → {worst.actual:.1%}"
    else:
        change = shown_score(verdict)
    return f"{short(verdict.name)} ({change})"


def request_line(request: RetrainRequest, zone: tzinfo = UTC) -> Text:
    """One line for a retrain request."""
    line = Text(f"⟳ {when(request.time, zone)}  retrain requested", style="bold magenta")
    first, last = (_UNKNOWN if time is None else f"{time.astimezone(zone):%Y-%m-%d}"
                   for time in (request.training_range.since, request.training_range.until))  # fmt: skip
    return line.append(f"  on {first} to {last}, {request.urgency.value}", style="not bold default")


def incident_block(
    life: Sequence[DriftEvent],
    requests: Sequence[RetrainRequest] = (),
    latest: ModelStatus | None = None,
    zone: tzinfo = UTC,
) -> Group:
    """Tell the life of an incident: what, how sure, since when, and what was asked for.

    Parameters
    ----------
    life
        Its events, the oldest first.
    requests
        Retrain requests of this incident.
    latest
        Where the model stands now, for the evidence that has come together since.
    """
    worst = max(life, key=lambda event: event.tier.rank)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    drifted = _worst_verdicts(life)
    for verdict in drifted[:MOST_SIGNALS]:
        table.add_row("what", f"{verdict_words(verdict)}, {shown_score(verdict)}")
        table.add_row("how sure", _sureness(verdict, latest))
    if len(drifted) > MOST_SIGNALS:
        table.add_row("", f"and {len(drifted) - MOST_SIGNALS} more signals")
    if worst.since is not None:
        table.add_row("since", f"{when(worst.since, zone)} (estimated)")
    table.add_row("when", _life(life, zone))
    for event in _diagnoses(life):
        if event.diagnosis is not None:
            at = Text(f"{_moment(event, zone)}  ", style="bold")
            table.add_row("diagnosis", at.append(event.diagnosis.explanation, style="not bold"))
    for request in requests:
        table.add_row("asked for", _request(request, zone))
    title = (
        Text(INCIDENTS[worst.family], style="bold")
        .append(" ")
        .append(life[0].incident_id[:8], style="dim")
        .append("  ")
    )
    return Group(title.append_text(tier_text(worst.tier)), Padding(table, (0, 0, 0, 2)))


def _worst_verdicts(life: Sequence[DriftEvent]) -> list[SignalVerdict]:
    """What was said of each signal when its tier was highest, in the order in which they joined the incident."""
    worst: dict[str, SignalVerdict] = {}
    for event in life:
        for verdict in event.signals:
            known = worst.get(verdict.name)
            if verdict.tier.rank > (0 if known is None else known.tier.rank):
                worst[verdict.name] = verdict
    return list(worst.values())


def _diagnoses(life: Sequence[DriftEvent]) -> list[DriftEvent]:
    """The events whose diagnosis knows a kind of drift, or the mix behind a signal, that none before them did."""
    found, known = [], set[str]()
    for event in life:
        if event.diagnosis is not None:
            told = {
                *event.diagnosis.drifts,
                *(each.signal for each in event.diagnosis.mix if (each.explained or 0) >= MIXED),
            }
            if not told <= known:
                known |= told
                found.append(event)
    return found


def _sureness(verdict: SignalVerdict, latest: ModelStatus | None) -> Text:
    """The evidence at the alarm, and where it has come since; one of River's detectors has none, it gave an alarm."""
    if verdict.detector is not None:
        return Text(f"alarm of River's {verdict.detector}, under no false-alarm budget")
    text = Text(
        f"{verdict.evidence:.1f} nats of evidence, where the false-alarm budget asks for {verdict.threshold:.1f}"
    )
    now = next((each for each in latest.signals if each.name == verdict.name), None) if latest else None
    if now is not None and now.tier is verdict.tier and now.evidence > verdict.evidence:
        text.append(f"; {now.evidence:,.1f} at the end")
    return text


def _life(life: Sequence[DriftEvent], zone: tzinfo) -> Text:
    text = Text()
    for event in life:
        if event.change is not Change.UPDATED:
            text.append(", " if text else "").append(f"{event.change.value} ")
            text.append("" if event.change is Change.RESOLVED else f"{event.tier.value} ")
            text.append(_moment(event, zone), style="bold")
    return text if life[-1].change is Change.RESOLVED else text.append(", still on at the end")


def _request(request: RetrainRequest, zone: tzinfo) -> Text:
    wanted = request.training_range
    records = sum(each.to_offset - each.from_offset for each in wanted.offsets)
    asked = f" on {when(wanted.since, zone)} to {when(wanted.until, zone)}, {records:,} records"
    return Text("retraining", style="bold magenta").append(
        f"{asked} (urgency {request.urgency.value})", style="not bold default"
    )


def by_incident(events: Iterable[DriftEvent]) -> list[list[DriftEvent]]:
    """The events of each incident, in the order in which they opened."""
    lives: dict[str, list[DriftEvent]] = {}
    for event in events:
        lives.setdefault(event.incident_id, []).append(event)
    return list(lives.values())


def _moment(event: DriftEvent, zone: tzinfo) -> str:
    if event.row is None:
        return when(event.time, zone)
    return f"in row {event.row:,}" + (f" ({when(event.time, zone)})" if event.time is not None else "")


def _more(verdicts: Sequence[SignalVerdict], shown: int) -> str:
    return f" and {len(verdicts) - shown} more" if len(verdicts) > shown else ""
