"""``driftline worker``."""

from __future__ import annotations

import typer

from agents.cli.common import BootstrapServers, settings_for, taught


@taught
def worker(bootstrap_servers: BootstrapServers = None) -> None:
    """
    Run a worker until it is told to stop (SIGTERM, Ctrl-C).

    Everything else comes from the environment, as DRIFTLINE_... (docs/settings.md). Workers of one group share the
    partitions: start as many as you like. /healthz, /readyz and /metrics are served on port 8910.

    [bold]Examples[/bold]

    $ DRIFTLINE_BOOTSTRAP_SERVERS=kafka-1:9092 driftline worker
    $ DRIFTLINE_AUTO_REGISTER=true DRIFTLINE_LOG_FORMAT=json driftline worker
    """
    from agents.worker import run_worker

    raise typer.Exit(run_worker(settings_for(bootstrap_servers)))
