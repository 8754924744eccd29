"""``driftline broker``."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from agents.cli.common import out, taught


@taught
def broker(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1.")] = 9092,
) -> None:
    """
    Run an embedded Kafka broker, for development: it is alone and forgets everything when it ends.

    [bold]Example[/bold]

    $ driftline broker --port 9092 &
    $ driftline topics create && driftline worker
    """
    from agents.broker import EmbeddedBroker
    from agents.errors import BrokerError

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with EmbeddedBroker(port) as running:
        out.print(f"a Kafka broker for development listens on [bold]{running.bootstrap_servers}[/bold]; Ctrl-C ends it")
        try:
            code = running.wait()
        except KeyboardInterrupt:
            return
    raise BrokerError(f"the embedded broker has ended by itself with exit code {code}")
