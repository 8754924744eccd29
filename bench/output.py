"""What all benchmarks print: tables for people, the same numbers as JSON for programs."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from rich.console import Console

STANDARD_OUTPUT: Final = "-"


def add_json_option(parser: ArgumentParser) -> None:
    """Let ``--json FILE`` say where the numbers go."""
    parser.add_argument("--json", metavar="FILE", help="write the numbers here as well; - is standard output")


def console_for(json_to: str | None, width: int | None = None) -> Console:
    """Make the console of the tables: standard error where standard output is wanted for JSON.

    ``width`` is that of the tables where they do not go to a terminal.
    """
    to_stderr = json_to == STANDARD_OUTPUT
    is_terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    return Console(stderr=to_stderr, width=None if is_terminal else width)


def write_json(result: Any, json_to: str | None) -> None:
    """Write the numbers where ``--json`` said."""
    if json_to is None:
        return
    text = json.dumps(result, indent=2) + "\n"
    if json_to == STANDARD_OUTPUT:
        sys.stdout.write(text)
    else:
        Path(json_to).write_text(text, encoding="utf-8")
