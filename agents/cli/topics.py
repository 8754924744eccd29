"""``driftline topics``."""

from __future__ import annotations

from typing import Final

import typer
from rich.table import Table

from agents.cli.common import BootstrapServers, out, run_quietly, settings_for, taught

WIDE: Final = 110
"""From so many columns on, keys are shown."""

app = typer.Typer(no_args_is_help=True, help="Make and list the topics that driftline uses.")


@app.command()
@taught
def create(bootstrap_servers: BootstrapServers = None) -> None:
    """
    Create the topics that are missing and check the others; a worker does the same when it starts.

    [bold]Example[/bold]

    $ DRIFTLINE_PARTITIONS=12 DRIFTLINE_REPLICATION_FACTOR=3 driftline topics create
    """
    from agents.topics import ensure_topics

    settings = settings_for(bootstrap_servers)
    found = run_quietly(ensure_topics(settings))
    table = Table("topic", "partitions", box=None, pad_edge=False, header_style="dim")
    for name, partitions in found.items():
        table.add_row(settings.topic(name), str(partitions))
    out.print(table)


@app.command("list")
@taught
def list_() -> None:
    """
    List the topics: events, partitions, how long records are kept, and in a wide window their keys. No broker is asked.

    [bold]Example[/bold]

    $ driftline topics list
    """
    from schemas.topics import TOPICS

    settings = settings_for(None)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("topic", no_wrap=True)
    table.add_column("partitions", justify="right")
    table.add_column("kept", no_wrap=True)
    table.add_column("events", overflow="fold")
    if is_wide := out.width >= WIDE:
        table.add_column("key", overflow="fold")
    for spec in TOPICS.values():
        table.add_row(
            settings.topic(spec.name),
            str(spec.partitions or settings.partitions),
            f"{spec.retention.days} days" if spec.retention else spec.cleanup.value,
            ", ".join(spec.events) or "the worker's own state",
            *([spec.key] if is_wide else []),
        )
    out.print(table)
