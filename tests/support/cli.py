"""The command line against a test's broker, in this process: starting another takes seconds."""

from __future__ import annotations

import asyncio

from typer.testing import CliRunner

from agents.cli import app
from agents.settings import Settings


async def driftline(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run ``driftline ARGUMENTS``; return its exit code and what it printed, white space made single."""
    variables = {
        "DRIFTLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DRIFTLINE_TOPIC_PREFIX": settings.topic_prefix,
    }
    # In a thread, since a command runs a loop of its own.
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=variables)
    output = result.output if result.exception is None else f"{result.output} {result.exception}"
    return result.exit_code, " ".join(output.split())
