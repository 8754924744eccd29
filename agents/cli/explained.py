"""What ``driftline models explain`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from detector.budget import CLEAR, Budget, SignalReach, TierReach
from schemas.model_spec import ModelSpec
from schemas.outbound import Family

_FAULTS = {Family.QUALITY: "data", Family.SERVICE: "service"}


def explained(spec: ModelSpec, budget: Budget, reach: Sequence[SignalReach]) -> Iterator[RenderableType]:
    """The budget in sentences, and a line for each signal."""
    odds, families = math.exp(budget.threshold), len(budget.by_family)
    own = budget.by_family[Family.DRIFT]
    shares = "" if families == 1 else f", of which drifts may use one in {families}"
    yield (
        f"[bold]{spec.model} {spec.version}[/bold] may raise {_count(budget.count)} in {_period(budget.per)}, "
        f"all its {budget.signals} signals together.\n"
    )
    yield (
        f"A step comes at most every {_period(spec.steps.min_interval)}: {budget.steps:,.0f} in {_period(budget.per)}. "
        f"With {own} signals that is {budget.steps * own:,.0f} occasions to be wrong{shares}, so that an "
        f"alarm asks for evidence of log({odds:,.0f}) = [bold]{budget.threshold:.1f} nats[/bold]: rows that a drift "
        f"makes {odds:,.0f} times as likely as no drift does.\n"
    )
    if budget.segment_threshold is not None:
        yield (
            f"Half of what drifts may use is for segments: each of their {budget.segment_signals:,} signals needs "
            f"[bold]{budget.segment_threshold:.1f} nats[/bold], and those below the other half.\n"
        )
    for family, threshold in budget.thresholds.items():
        if family is not Family.DRIFT:
            yield (
                f"As much is for faults of the {_FAULTS[family]}: {budget.by_family[family]} rates, which ask for "
                f"[bold]{threshold:.1f} nats[/bold] each.\n"
            )
    yield _table(reach)
    yield (
        "\n[dim]worth: independent rows of the reference, as bursty as they are. tolerated: a smaller change is no "
        "drift, however many rows show it; the reference's own uncertainty is part of it. rows: about how many a "
        f"change of {CLEAR:g} times the tier's score takes to be found.[/dim]"
    )
    for each in reach:
        if each.not_judged:
            yield f"[yellow]note[/yellow]  {each.signal} cannot be judged: {each.not_judged}"


def _table(reach: Sequence[SignalReach]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("signal", overflow="fold")
    for name in ("worth", "minor from", "tolerated", "rows", "significant", "rows"):
        table.add_column(name, justify="right")
    for each in reach:
        minor, _, significant = each.tiers
        table.add_row(
            each.signal.removeprefix("feature:"),
            f"{each.independent_rows:,.0f}",
            _score(each.score_name, minor.score),
            _score(each.score_name, minor.tolerated),
            _rows(each, minor),
            _score(each.score_name, significant.score),
            _rows(each, significant),
        )
    return table


def _score(name: str, value: float) -> str:
    if name == "psi":
        return f"PSI {value:.3g}"
    return f"+{value:.0%}" if name == "relative_increase" else f"+{value:.3f}"


def _rows(each: SignalReach, tier: TierReach) -> str:
    return "-" if each.not_judged or math.isinf(tier.rows) else f"{_rounded(tier.rows):,}"


def _rounded(rows: float) -> int:
    """To two digits: it is an estimate."""
    unit = 10 ** max(math.floor(math.log10(max(rows, 1.0))) - 1, 0)
    return round(rows / unit) * unit


def _count(count: float) -> str:
    return "one false alarm" if count == 1 else f"{count:g} false alarms"


def _period(length: timedelta) -> str:
    seconds = length.total_seconds()
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}{'s' if seconds != unit else ''}"
    return f"{seconds:g} seconds"


def as_facts(budget: Budget, reach: Sequence[SignalReach]) -> dict[str, Any]:
    """The same for a program; infinite numbers of rows are null."""
    facts: dict[str, Any] = {"budget": {**asdict(budget), "per": budget.per.total_seconds()}, "signals": []}
    for each in reach:
        signal = asdict(each)
        for tier in signal["tiers"]:
            tier["rows"] = None if math.isinf(tier["rows"]) else round(tier["rows"])
        facts["signals"].append(signal)
    return facts
