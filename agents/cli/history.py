"""``driftline models history``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
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

    Read from the topics, as far back as they reach. Times are UTC: the event time that it is about, and when it was
    said. The id of a drift event is what driftline replay takes.

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
    for entry in entries:
        out.print(_block(entry))


def _block(entry: Entry) -> RenderableType:
    """One thing that happened: when, what and to which version; below it, in words."""
    from agents.screen import when

    head = Text.assemble(
        (when(entry.at if entry.time is None else entry.time), "bold"),
        "  ",
        (entry.kind, _style(entry.kind, entry.facts.get("tier"))),
        f"  version {entry.version}",
    )
    if name := entry.facts.get("id", "")[:8]:
        head.append(f"  {name}", style="dim")
    if entry.time is not None:
        head.append(f"  said {when(entry.at)}", style="dim")
    return Group(head, Padding(Text(entry.what), (0, 0, 0, 2)))


def _style(kind: str, tier: str | None) -> str:
    from agents.history import Kind
    from agents.screen import TIER_STYLES

    if kind == Change.RESOLVED:
        return "green"
    return "bold magenta" if kind == Kind.REQUESTED else "cyan" if tier is None else TIER_STYLES[Tier(tier)]
