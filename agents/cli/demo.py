"""``driftline demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from agents.cli.common import taught


@taught
def demo(
    *,
    speed: Annotated[float, typer.Option(min=0.01, metavar="DAYS", help="Days of flights that pass in a second.")]
    = 3.0,
    seconds: Annotated[float | None, typer.Option(min=1, show_default="to the end of the year",
                       help="End after playing for so long.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=275, show_default="275, to the end of the year",
                    help="Play so many days from 1 April.")] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Begin the year again and again, until Ctrl-C.")] = False,
) -> None:  # fmt: skip
    """
    A real worker finds real drift: a delay model trained in winter meets spring and summer. Needs no Kafka.

    Trains a scikit-learn model on the flights that left New York from January to March 2013, registers it, starts an
    embedded broker and a worker, and plays April to December as the serving system: a prediction for each flight when
    it is about to leave, an outcome when it has arrived. About two minutes.

    [bold]Examples[/bold]

    $ driftline demo
    $ driftline demo --speed 1 --forever
    """
    from agents.demo.run import Options, run

    run(Options(speed=speed, seconds=seconds, days=days, forever=forever))
