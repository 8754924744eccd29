"""Memory of a worker that watches 100 models of 50 features, while events pass through it.

``python -m bench.memory --json -`` starts an embedded broker and a worker, feeds events of all models in turn, and
reads the worker's resident memory at several points. It must stay below 600 MB and must not grow with the events.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.broker import EmbeddedBroker
from agents.settings import Settings
from bench.events import EventSource, Shape, specs
from bench.feeder import Feeder
from bench.measured import Worker
from bench.output import add_json_option, console_for, write_json
from bench.throughput import register

ASKED_MB: Final = 600
POINTS: Final = 10
AHEAD: Final = 20_000
PREPARED_EVENTS: Final = 20_000
_MB: Final = 1_048_576


async def measure(shape: Shape, events: int, progress: Progress) -> list[dict[str, float]]:
    """Read the memory of a worker at so many events, ten times."""
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap_servers=broker.bootstrap_servers)
        await register(settings, specs(shape))
        worker = Worker(settings)
        async with (
            worker.running(),
            Feeder(settings.bootstrap_servers, settings.topic("predictions"), settings.partitions) as feeder,
        ):
            points = [{"events": 0, "rss_mb": rss_mb(worker.pid)}]
            await feeder.prepare([EventSource(shape, model) for model in range(shape.models)], PREPARED_EVENTS)
            feeding = asyncio.create_task(feeder.feed(worker.done, AHEAD))
            task = progress.add_task("events", total=events)
            try:
                for wanted in np.linspace(events / POINTS, events, POINTS):
                    while worker.done() < wanted:
                        worker.check()
                        await asyncio.sleep(0.1)
                    points.append({"events": worker.done(), "rss_mb": rss_mb(worker.pid)})
                    progress.update(task, completed=worker.done())
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError):
                    await feeding
    return points


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return round(int(line.split()[1]) * 1024 / _MB, 1)
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True)
    return round(int(shown.stdout) * 1024 / _MB, 1)


def summary(shape: Shape, points: list[dict[str, float]]) -> dict[str, Any]:
    """Say how much it was at most, and how it grew over the second half, when everything is warm."""
    late = points[len(points) // 2 :]
    slope = np.polyfit([point["events"] for point in late], [point["rss_mb"] for point in late], 1)[0]
    return {
        "models": shape.models,
        "features": shape.features,
        "events": points[-1]["events"],
        "rss_mb_max": max(point["rss_mb"] for point in points),
        "rss_mb_asked": ASKED_MB,
        "growth_mb_per_million_events": round(float(slope) * 1e6, 1),
        "points": points,
    }


def table(result: dict[str, Any]) -> Table:
    """Lay the result out for people."""
    out = Table(title=f"A worker with {result['models']} models of {result['features']} features")
    out.add_column("events", justify="right")
    out.add_column("resident MB", justify="right")
    for point in result["points"]:
        out.add_row(f"{point['events']:,.0f}", f"{point['rss_mb']:,.0f}")
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", type=int, default=100, help="models (default 100)")
    parser.add_argument("--features", type=int, default=50, help="features of each (default 50)")
    parser.add_argument("--events", type=int, default=500_000, help="events in all (default 500,000)")
    add_json_option(parser)
    options = parser.parse_args()
    console = console_for(options.json)
    shape = Shape(features=options.features, models=options.models)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        result = summary(shape, asyncio.run(measure(shape, options.events, progress)))
    console.print(table(result))
    write_json(result, options.json)


if __name__ == "__main__":
    main()
