"""How soon surrogate models warn: swapped labels, changes that no marginal shows, a silent model change, and quiet
streams.

``python -m bench.surrogates --data DIR`` plays Electricity and NOAA with one class relabelled as the other, labels at
once and 500 rows late, and compares the challengers (signal ``concept``) with the best detector on the production
model's errors: driftline's own ``performance:error`` and River's. Each of River's is given the most sensitive setting
of a grid with which no more streams alarm before the onset than with the challengers. Then River's SEA, LED and
STAGGER change, a correlation of two features flips while every feature by itself stays as it is, a model changes
silently, and streams in which nothing changes must stay quiet.

All of it takes hours. ``--only`` plays parts; with ``--keep FILE`` each stream is written down as it ends, and the next
run with that file plays only what is missing (remove the file after a change of the code).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.episodes import FILES
from bench.error_rivals import RIVALS, SLOW
from bench.output import add_json_option, console_for, write_json
from bench.surrogate_plays import (
    CHANGES,
    QUIET_KINDS,
    Found,
    Said,
    flip,
    generator,
    quiet,
    rivals,
    silent,
    swaps,
)
from bench.surrogate_report import WITHIN, delays, found_in, quiet_in, tables

LATE: Final = (0, 500)
QUICK: Final = {"episodes": 2, "rival_episodes": 4, "generated": 1, "seeds": 5, "streams": 1, "windows": 300}
TABLE_WIDTH: Final = 180

Job = tuple[str, tuple[Any, ...]]
"""Part, and what its function takes."""


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """List what is to be played: the first seed of everything, then the second: a run may be stopped at any."""
    names = tuple(name for name in RIVALS if options.all or name not in SLOW)
    jobs: list[tuple[int, Job]] = []
    if options.data is not None:
        data = str(options.data)
        seeds = range(max(options.episodes, options.rival_episodes))
        episodes = [(data, name, seed, late) for seed in seeds for name in FILES for late in LATE]
        jobs += [(each[2], ("swaps", each)) for each in episodes if each[2] < options.episodes]
        jobs += [(each[2], ("rivals", (*each, names))) for each in episodes if each[2] < options.rival_episodes]
    jobs += [(seed, ("generator", (name, seed))) for seed in range(options.generated) for name in CHANGES]
    jobs += [(seed, (part, (seed,))) for seed in range(options.seeds) for part in WITHIN]
    quiets = [(seed, kind.value) for seed in range(options.streams) for kind in QUIET_KINDS]
    jobs += [(seed, ("quiet", (kind, seed, options.windows))) for seed, kind in quiets]
    return [job for _, job in sorted(jobs, key=lambda each: each[0]) if job[0] in options.only]


class Kept:
    """Results by job, written down line by line where a file is given."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lines: dict[str, Any] = {}
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                self._lines[kept["job"]] = kept["result"]

    def __contains__(self, job: Job) -> bool:
        return _key(job) in self._lines

    def __getitem__(self, job: Job) -> list[Said] | Found:
        result = self._lines[_key(job)]
        if isinstance(result, list):
            return [Said(**each) for each in result]
        return Found(result["part"], tuple(result["alarms_before"]), result["delays"])

    def add(self, job: Job, result: list[Said] | Found) -> None:
        """Keep a result."""
        plain = [asdict(each) for each in result] if isinstance(result, list) else asdict(result)
        self._lines[_key(job)] = plain
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"job": _key(job), "result": plain}) + "\n")


def _key(job: Job) -> str:
    """Name a job without the folder of its data."""
    part, arguments = job
    return json.dumps([part, *(arguments[1:] if part in ("swaps", "rivals") else arguments)])


def play(jobs: Sequence[Job], kept: Kept, workers: int, console: Console) -> Iterator[tuple[Job, Any]]:
    """Play what is not kept yet; yield all results, in the order of the jobs."""
    missing = [job for job in jobs if job not in kept]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        Progress(*columns, console=console) as progress,
        multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=16) as pool,
    ):
        task = progress.add_task("streams", total=len(missing))
        for job, result in pool.imap_unordered(_play, missing):
            kept.add(job, result)
            progress.advance(task)
    yield from ((job, kept[job]) for job in jobs)


def _play(job: Job) -> tuple[Job, Any]:
    part, arguments = job
    return job, PARTS[part](*arguments)


def report_of(results: Iterator[tuple[Job, Any]], windows: int) -> dict[str, Any]:
    """Put the results of all parts together."""
    said: list[Said] = []
    found: defaultdict[str, list[Found]] = defaultdict(list)
    for (part, _), result in results:
        if part in ("swaps", "rivals"):
            said += result
        else:
            found[result.part].append(result)
    return {
        "swaps": delays(said),
        "found": [found_in(part, found[part]) for part in (*CHANGES, *WITHIN) if found[part]],
        "quiet": [quiet_in(kind.value, found[kind.value], windows) for kind in QUIET_KINDS if found[kind.value]],
    }


def main() -> None:
    """Run from the command line."""
    options = _options()
    console = console_for(options.json, TABLE_WIDTH)
    report = report_of(play(jobs_of(options), Kept(options.keep), options.workers, console), options.windows)
    for table in tables(report):
        console.print(table)
    write_json(report, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.surrogates", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder with elec.csv.gz and weather.csv.gz; without it, no swaps")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=list(PARTS), default=list(PARTS),
                        help=f"play these parts: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write results down, and play only what it lacks")
    parser.add_argument("--quick", action="store_true", help="a few streams of each: some minutes")
    parser.add_argument("--all", action="store_true", help="KSWIN among the rivals: slow")
    parser.add_argument("--episodes", type=int, default=20, help="shuffles of each real stream (default 20)")
    parser.add_argument("--rival-episodes", type=int, default=20,
                        help="of these for River's detectors: they are calibrated on them (default 20)")  # fmt: skip
    parser.add_argument("--generated", type=int, default=20, help="seeds of each generator (default 20)")
    parser.add_argument("--seeds", type=int, default=50, help="seeds of each label-free change (default 50)")
    parser.add_argument("--streams", type=int, default=20, help="quiet streams of each kind (default 20)")
    parser.add_argument("--windows", type=int, default=1_000, help="windows of 32 rows of each (default 1000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    add_json_option(parser)
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    return options


PARTS: Final[Mapping[str, Callable[..., Any]]] = {
    "swaps": swaps,
    "rivals": rivals,
    "generator": generator,
    "flip": flip,
    "silent": silent,
    "quiet": quiet,
}

if __name__ == "__main__":
    main()
