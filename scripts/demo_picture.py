"""Run the demo and draw what it ends with: python scripts/demo_picture.py docs/images/demo.svg."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from agents.demo.run import Options, run

WIDTH = 118


def main(path: Path) -> None:
    """Draw the last screen and the summary of a full run."""
    outcome = run(Options())
    picture = Console(record=True, width=WIDTH, height=60, file=io.StringIO(), force_terminal=True, highlight=False)
    picture.print(outcome.board())
    picture.print()
    picture.print(outcome.summary())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture.export_svg(title="driftline demo", theme=MONOKAI), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
