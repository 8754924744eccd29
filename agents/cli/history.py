"""``driftline models history``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.common import BootstrapServers, out, reach, run_quietly, settings_for, taught
from schemas.outbound import Change, Tier

if TYPE_CHECKING:
    from agents.history import Entry
    from agents.settings import Settings


@taught
def history(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id of the model.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """
    Tell what has happened to a model: versions, references, incidents and retrain requests, in order.

    Read from the topics, as far back as they reach. Times are UTC: when it was said, and the event time that it is
    about. The id of a drift event is what driftline replay takes.

    [bold]Examples[/bold]

    $ driftline models history churn
    $ driftline models history churn --json | jq 'select(.kind == "opened")'
    """
    from agents.errors import OperatorError
    from agents.history import history

    async def read(settings: Settings) -> list[Entry]:
        await reach(settings, "models")
        return await history(settings, model)

    entries = run_quietly(read(settings_for(bootstrap_servers)))
    if not entries:
        raise OperatorError(f"nothing is known of a model {model}: driftline models list shows those that are")
    if as_json:
        for entry in entries:
            time = None if entry.time is None else entry.time.isoformat()
            content = {"at": entry.at.isoformat(), "time": time, "kind": entry.kind, "model": model}
            typer.echo(json.dumps(content | {"version": entry.version, "what": entry.what} | entry.facts))
        return
    out.print(_table(entries))


def _table(entries: list[Entry]) -> Table:
    from agents.screen import when

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("said at", no_wrap=True)
    table.add_column("event time", no_wrap=True)
    table.add_column("version", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("id", no_wrap=True, style="dim")
    table.add_column("", overflow="fold")
    for entry in entries:
        kind = Text(entry.kind, style=_style(entry.kind, entry.facts.get("tier")))
        said, about = when(entry.at), when(entry.time) if entry.time is not None else ""
        table.add_row(said, about, entry.version, kind, entry.facts.get("id", "")[:8], entry.what)
    return table


def _style(kind: str, tier: str | None) -> str:
    from agents.history import Kind
    from agents.screen import TIER_STYLES

    if kind == Change.RESOLVED:
        return "green"
    return "bold magenta" if kind == Kind.REQUESTED else "cyan" if tier is None else TIER_STYLES[Tier(tier)]
