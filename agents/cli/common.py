"""What the commands share: the option that names the broker, the consoles, and silence from the libraries."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import structlog
import typer
from rich.console import Console

if TYPE_CHECKING:
    from agents.settings import Settings

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., None])

BootstrapServers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        "-b",
        metavar="HOST:PORT",
        help="Instead of DRIFTLINE_BOOTSTRAP_SERVERS.",
        show_default=False,
    ),
]

out = Console(highlight=False, soft_wrap=False)
"""Standard output: results."""
err = Console(stderr=True, highlight=False)
"""Standard error: progress and notes, so that results can be piped."""


def taught(command: Command) -> Command:
    """Let the docstring of a command flow to the width of the terminal; lines that begin with ``$`` stay lines."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    command.__doc__ = "\n\n".join(re.sub(r"\n(?!\$)", " ", paragraph) for paragraph in paragraphs)
    return command


def settings_for(bootstrap_servers: str | None) -> Settings:
    """Read the settings from the environment; the option wins."""
    from agents.settings import load_settings

    return load_settings(**({} if bootstrap_servers is None else {"bootstrap_servers": bootstrap_servers}))


async def reach(settings: Settings, *topics: str) -> None:
    """Make sure that the broker answers and has these topics of the table.

    Raises
    ------
    OperatorError
        With one line that says which is not so.
    """
    from agents.errors import TopicError
    from agents.topics import admin

    async with admin(settings) as client:
        there = set(await client.list_topics())
    for topic in topics:
        if settings.topic(topic) not in there:
            raise TopicError(
                f"there is no topic {settings.topic(topic)} at {settings.bootstrap_servers}: "
                "start a worker, or run driftline topics create"
            )


def run_quietly(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; what the libraries log is left out, since failures are told in one line of our own."""
    from agents.logs import quiet_libraries

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with quiet_libraries():
        return asyncio.run(work)
