"""All faults, one after the other, and a table: ``python -m tests.faults``, or ``make test-faults``.

``--json`` prints the same as JSON; ``--only PART`` runs the faults whose names hold it; ``--numbers`` and ``--rate``
say how many events are produced in each, and how many in a second; ``--away`` for how long the broker is away. Exit
code 1 where something was lost, counted twice or otherwise not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agents.logs import quiet_libraries
from tests.faults.faults import FAULTS
from tests.faults.rig import Rig, running_rig
from tests.faults.trial import Scale
from tests.faults.trying import Verdict, try_fault
from tests.support.kafka import KafkaUnavailableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="break things and count again")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="faults whose names hold this")
    parser.add_argument("--numbers", type=int, default=40_000, help="events produced in each trial, at least")
    parser.add_argument("--rate", type=float, default=5_000.0, help="events produced a second")
    parser.add_argument("--away", type=float, default=60.0, help="seconds for which the broker is away")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args(arguments)
    names = [name for name in FAULTS if not chosen.only or any(part in name for part in chosen.only)]
    scale = Scale(chosen.numbers, chosen.rate, chosen.away)
    try:
        with running_rig() as rig, tempfile.TemporaryDirectory(prefix="driftline-faults-") as folder:
            verdicts = [_tried(name, rig, Path(folder), scale) for name in names]
    except KafkaUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if chosen.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        print_table(verdicts)
    return int(any(verdict.lost or verdict.double or verdict.problems for verdict in verdicts))


def _tried(name: str, rig: Rig, folder: Path, scale: Scale) -> Verdict:
    own = folder / name.replace(" ", "-").replace(",", "")
    own.mkdir()
    sys.stderr.write(f"{name} ...\n")
    try:
        with quiet_libraries():
            verdict = asyncio.run(try_fault(name, FAULTS[name], rig, own, scale))
    except Exception as error:  # the others shall be tried all the same
        verdict = Verdict(name, 0, 0, 0, None, (f"{type(error).__name__}: {error}",))
    for problem in verdict.problems:
        sys.stderr.write(f"  {problem}\n")
    return verdict


def print_table(verdicts: Sequence[Verdict]) -> None:
    """Print one line for each fault."""
    print(f"{'fault':34} {'events':>8} {'a second':>8} {'lost':>6} {'double':>6} {'recovery s':>10}")
    for each in verdicts:
        seconds = "-" if each.recovery_s is None else f"{each.recovery_s:.1f}"
        verdict = "FAILED" if each.problems else each.note
        counts = f"{each.events:8} {each.events_per_s:8.0f} {each.lost:6} {each.double:6}"
        print(f"{each.fault:34} {counts} {seconds:>10}  {verdict}")


if __name__ == "__main__":
    sys.exit(main())
