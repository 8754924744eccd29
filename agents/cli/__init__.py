"""The command line: ``driftline COMMAND``. Each file holds a group of commands and imports late: help is quick.

An ``OperatorError`` becomes one line on standard error and exit code 1; a wrong command line has exit code 2.
"""

from __future__ import annotations

import sys
from typing import Final

import typer

from agents.cli import backtest, broker, demo, models, replay, schemas, topics, watch, worker
from agents.errors import DeliveryError, OperatorError

EXIT_TROUBLE: Final = 1
EXIT_INTERRUPTED: Final = 130

app = typer.Typer(
    name="driftline",
    help="""
    Watches machine-learning models: feature and prediction events in, tiered drift events and retrain requests out.

    [bold]See it work[/bold]: driftline demo

    [bold]Watch a model of yours[/bold]: driftline models init --from TRAIN.csv, read the YAML, driftline models apply
    it, and run driftline worker. Where is Kafka? The environment says so: DRIFTLINE_BOOTSTRAP_SERVERS=host:port.
    """,
    epilog="One page for producers, subscribers and operators each: README.md. All settings: docs/settings.md.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("broker")(broker.broker)
app.add_typer(topics.app, name="topics")
app.add_typer(models.app, name="models")
app.command("backtest")(backtest.backtest)
app.command("replay")(replay.replay)
app.command("watch")(watch.watch)
app.add_typer(schemas.app, name="schemas")


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="driftline")
    except (OperatorError, DeliveryError) as error:
        typer.echo(f"driftline: {error}", err=True)
        sys.exit(EXIT_TROUBLE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
