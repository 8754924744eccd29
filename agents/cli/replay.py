"""``driftline replay``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.common import BootstrapServers, out, run_quietly, settings_for, taught

if TYPE_CHECKING:
    from agents.replaying import Replay
    from detector.replay import Recomputed

EXIT_DIFFERENT: Final = 1
EXIT_IMPOSSIBLE: Final = 2
LAST_DIGITS: Final = 1e-9
"""A smaller difference, as a share, is one of arithmetic, not of rows."""
_TIERS: Final = ("minor", "moderate", "significant")


@taught
def replay(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", show_default=False,
                        help="Id of a drift event, or its first eight characters or more.")],
    full: Annotated[bool, typer.Option("--full", help="Recompute all steps since the first one, where events "
                    "name their cuts and the offsets are still there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:  # fmt: skip
    """
    Recompute a drift event from the records that it names, and say whether it is what they give.

    Finds the event, reads the offsets of its last step again, counts their rows with the spec and the reference of that
    time, and computes the score and the step's factor of the evidence once more. Takes nothing from anybody: no group
    is joined, nothing is written.

    Exit code 0: equal, to the last digit. 1: different. 2: it cannot be recomputed, and the reason is told.

    [bold]Examples[/bold]

    $ driftline replay ee34ecc400d43ae75b14d7e8ce55bb7c
    $ driftline replay ee34ecc4 --full --json
    """
    from agents.errors import OperatorError
    from agents.replaying import Outcome, replay

    codes = {Outcome.EQUAL: 0, Outcome.DIFFERENT: EXIT_DIFFERENT, Outcome.IMPOSSIBLE: EXIT_IMPOSSIBLE}
    try:
        replayed = run_quietly(replay(settings_for(bootstrap_servers), event_id, full=full))
    except OperatorError as error:
        typer.echo(f"driftline: {error}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    if as_json:
        typer.echo(json.dumps(facts(replayed)))
    else:
        show(replayed)
    raise typer.Exit(codes[replayed.outcome])


def show(replayed: Replay) -> None:
    """Print a replay for people."""
    event, step = replayed.event, replayed.step
    title = Text(f"{event.model} {event.version}", style="bold").append(f" in {event.stage}, ", style="not bold")
    out.print(title.append(f"{event.change} {event.tier}, decided by driftline {event.lineage.driftline}"))
    out.print(f"[dim]event {event.id}, incident {event.incident_id}, spec {event.lineage.spec_hash[:12]}[/dim]")
    if step is not None:
        before = f"all {replayed.steps:,} steps; the last one, " if replayed.steps > 1 else ""
        out.print(f"\n{before}step {step.number:,}, {step.rows:,} rows:")
        out.print(_panes(replayed))
    if replayed.signals:
        out.print()
        out.print(_signals(replayed.signals))
    for note in replayed.notes:
        out.print(Text("note  ", style="yellow").append(note, style="default"))
    out.print(_verdict(replayed))


def _panes(replayed: Replay) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
    for name in ("topic", "partition", "offsets", "rows then", "rows now"):
        table.add_column(name, justify="left" if name == "topic" else "right", overflow="fold")
    again = {(each.pane.topic, each.pane.partition): each.rows for each in replayed.panes}
    for pane in replayed.step.panes if replayed.step is not None else ():
        rows = again.get((pane.topic, pane.partition))
        now = "" if (pane.topic, pane.partition) not in again else "gone" if rows is None else f"{rows:,}"
        offsets = f"{pane.from_offset:,} to {pane.to_offset - 1:,}"
        table.add_row(pane.topic, str(pane.partition), offsets, f"{pane.rows:,}", now)
    return table


def _signals(signals: Any) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("signal", overflow="fold")
    table.add_column("against", no_wrap=True)
    for name in ("evidence before", "after", "factor", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("now")
    for each in signals:
        told = each.told
        for place, tier in enumerate(_TIERS):
            before, after = told.before[place], told.after[place]
            table.add_row(
                told.name.removeprefix("feature:") if place == 0 else "",
                tier,
                f"{before:.3f}",
                f"{after:.3f}",
                _shown(factor(before, after)),
                f"{told.score:.6g}" if place == 0 else "",
                _equality(each, place),
            )
    return table


def _equality(each: Recomputed, place: int) -> Text:
    """Say how the recomputed numbers of one tier, and in the first line the score, compare with those told."""
    if each.is_equal is None or each.after is None or each.before is None or each.score is None:
        return Text("not recomputed", style="dim")
    told = [each.told.before[place], each.told.after[place]] + ([each.told.score] if place == 0 else [])
    now = [each.before[place], each.after[place]] + ([each.score] if place == 0 else [])
    if told == now:
        return Text("equal", style="green")
    return Text(f"different by {max(abs(a - b) for a, b in zip(told, now, strict=True)):.2g}", style="bold red")


def _verdict(replayed: Replay) -> Text:
    from agents.replaying import Outcome

    left_out = sum(each.is_equal is None for each in replayed.signals)
    but = f"; {left_out} of {len(replayed.signals)} signals were not recomputed" if left_out else ""
    return {
        Outcome.EQUAL: Text(f"\nequal, to the last digit{but}", style="bold green"),
        Outcome.DIFFERENT: Text(f"\ndifferent: {_why(replayed)}", style="bold red"),
        Outcome.IMPOSSIBLE: Text("\nit cannot be recomputed", style="bold yellow"),
    }[replayed.outcome]


def _why(replayed: Replay) -> str:
    if max((each.difference for each in replayed.signals), default=0.0) < LAST_DIGITS:
        return "in the last digits only, as on another kind of processor or with another numpy"
    return "the records, or the software, are not those that decided"


def factor(before: float, after: float) -> float:
    """By how much a step multiplied the evidence."""
    try:
        return math.exp(after - before)
    except OverflowError:
        return math.inf


def _shown(value: float) -> str:
    return f"{value:,.3g}" if 1e-3 <= value < 1e6 else f"{value:.2e}"


def facts(replayed: Replay) -> dict[str, Any]:
    """Everything that a replay has found, as plain values."""
    event = replayed.event
    return {
        "event": event.id,
        "incident": event.incident_id,
        "model": event.model,
        "version": event.version,
        "stage": event.stage.value,
        "outcome": replayed.outcome.value,
        "steps_recomputed": replayed.steps,
        "step": None if replayed.step is None else replayed.step.model_dump(mode="json"),
        "panes": [{**each.pane.model_dump(mode="json"), "rows_now": each.rows} for each in replayed.panes],
        "signals": [
            {
                "signal": each.told.signal,
                "segment": each.told.segment,
                "equal": each.is_equal,
                "difference": each.difference,
                "told": {"before": each.told.before, "after": each.told.after, "score": each.told.score},
                "now": None
                if each.is_equal is None
                else {"before": each.before, "after": each.after, "score": each.score},
                "factor": [_finite(factor(*pair)) for pair in zip(each.told.before, each.told.after, strict=True)],
                "why_not": each.why_not,
            }
            for each in replayed.signals
        ],
        "notes": list(replayed.notes),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
