"""The code blocks of the README, so that tests can run what users copy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

README: Final = Path(__file__).resolve().parents[2] / "README.md"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """All code blocks of a language, in the order of the page."""
    return [code for name, code in _BLOCK.findall(README.read_text()) if name == language]


def commands() -> list[str]:
    """Every command behind a prompt, without its comment."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines if line.startswith("$ ")]
