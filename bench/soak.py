"""A long run: whether a worker grows, leaks, falls behind or gets slow, while drift comes and goes and labels are late.

``python -m bench.soak --minutes 30`` runs a worker as a process, on an embedded broker or the one that
``--bootstrap-servers`` names. Every few seconds its resident memory, open files, threads, lag and the latency of its
alerts are read. It must not grow by more than 1 % after the first five minutes. With matplotlib (the extra ``bench``)
the course of all of them is drawn into the folder that ``--output`` names.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.broker import EmbeddedBroker
from agents.settings import Settings
from agents.tasks import end_tasks
from bench.events import Shape
from bench.measured import Worker
from bench.memory import rss_mb
from bench.output import add_json_option, console_for, write_json
from bench.soak_stream import Load, Stream
from bench.throughput import register

ASKED_GROWTH: Final = 0.01
SETTLED_AFTER_S: Final = 300.0
"""Until then caches fill; of a shorter run the first half."""
LOOK_EVERY_S: Final = 5.0
PARTS: Final = 3
"""Memory swings by what the stores of the join gather before they write it out: its highest in the first and in the
last part of the settled time are compared. Each should be longer than such a swing takes, which is a few minutes."""


@dataclass(frozen=True)
class Point:
    """What was seen at one time."""

    minute: float
    rss_mb: float
    files: int
    threads: int
    lag_records: float
    alert_latency_s: float | None
    """Mean of the alerts since the last point; None: there were none."""
    opened: float
    """Incidents so far."""
    resolved: float
    joined: float
    """Labels that have found their predictions so far."""


async def measure(settings: Settings, load: Load, progress: Progress) -> tuple[list[Point], str | None]:
    """Run a worker under a load, and look at it until the load ends.

    Returns
    -------
    points
        What was seen.
    failure
        Why it ended before its time; None: it did not.
    """
    await register(settings, load.specs())
    worker, points = Worker(settings), list[Point]()
    stream = Stream(settings, load, worker.done)
    task = progress.add_task("minutes", total=load.minutes)
    async with worker.running(), aiohttp.ClientSession() as web:
        feeding = asyncio.create_task(stream.run())
        began, alerts = time.monotonic(), (0.0, 0.0)
        try:
            while not feeding.done():
                await asyncio.wait([feeding], timeout=LOOK_EVERY_S)
                worker.check()
                point, alerts = await _look(worker, web, (time.monotonic() - began) / 60.0, alerts)
                points.append(point)
                progress.update(task, completed=point.minute)
            feeding.result()
        except (RuntimeError, aiohttp.ClientError, KafkaError) as error:
            return points, str(error) or repr(error)
        finally:
            await end_tasks([feeding])
    return points, None


async def _look(
    worker: Worker, web: aiohttp.ClientSession, minute: float, before: tuple[float, float]
) -> tuple[Point, tuple[float, float]]:
    """Read a point; ``before`` are the number of alerts and the sum of their latencies at the last one."""
    async with web.get(f"{worker.url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        samples = [sample for family in families for sample in family.samples]

    def total(name: str, **labels: str) -> float:
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    alerts = total("driftline_alert_latency_seconds_count"), total("driftline_alert_latency_seconds_sum")
    fresh = alerts[0] - before[0]
    point = Point(
        minute=round(minute, 3),
        rss_mb=rss_mb(worker.pid),
        files=int(total("process_open_fds")),
        threads=_threads(worker.pid),
        lag_records=total("driftline_lag_records"),
        alert_latency_s=round((alerts[1] - before[1]) / fresh, 3) if fresh else None,
        opened=total("driftline_drift_events_total", change="opened"),
        resolved=total("driftline_drift_events_total", change="resolved"),
        joined=total("driftline_outcomes_total", fate="matched"),
    )
    return point, alerts


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def summary(load: Load, points: Sequence[Point]) -> dict[str, Any]:
    """Say how much the worker has grown since it was settled, and what else has changed."""
    settled_s = min(SETTLED_AFTER_S, 60.0 * points[-1].minute / 2)
    late = [point for point in points if point.minute * 60.0 >= settled_s]
    size = max(1, len(late) // PARTS)
    first, last = late[:size], late[-size:]
    begin, end = max(point.rss_mb for point in first), max(point.rss_mb for point in last)
    delays = [point.alert_latency_s for point in late if point.alert_latency_s is not None]
    return {
        "minutes": points[-1].minute,
        "models": load.shape.models,
        "pending": load.pending,
        "predictions_per_s": load.rate,
        "settled_after_s": settled_s,
        "rss_mb_first_part": begin,
        "rss_mb_last_part": end,
        "rss_mb_least": min(point.rss_mb for point in late),
        "growth": round(end / begin - 1.0, 4),
        "growth_asked": ASKED_GROWTH,
        "files_first_part": max(point.files for point in first),
        "files_last_part": max(point.files for point in last),
        "threads_last_part": max(point.threads for point in last),
        "lag_records_max": max(point.lag_records for point in late),
        "alert_latency_s_median": round(float(np.median(delays)), 3) if delays else None,
        "alert_latency_s_max": max(delays, default=None),
        "incidents_opened": points[-1].opened,
        "incidents_resolved": points[-1].resolved,
        "labels_joined": points[-1].joined,
        "points": [asdict(point) for point in points],
    }


def table(result: dict[str, Any]) -> Table:
    """Lay the result out for people."""
    out = Table(title=f"A worker over {result['minutes']:.0f} minutes")
    out.add_column("")
    out.add_column("measured", justify="right")
    for name, value in result.items():
        if name != "points":
            out.add_row(name, "-" if value is None else f"{value:,}")
    return out


def plot(points: Sequence[Point], to: Path) -> None:
    """Draw the course of everything, one above the other."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra that is not always there

    minutes = [point.minute for point in points]
    courses = {
        "resident MB": [point.rss_mb for point in points],
        "open files": [point.files for point in points],
        "lag, records": [point.lag_records for point in points],
        "alert latency, s": [np.nan if point.alert_latency_s is None else point.alert_latency_s for point in points],
        "open incidents": [point.opened - point.resolved for point in points],
    }
    figure = Figure(figsize=(9, 2 * len(courses)), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(len(courses), sharex=True), courses.items(), strict=True):
        axes.plot(minutes, values, linewidth=1.2, marker="." if name == "alert latency, s" else None)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    axes.set_xlabel("minutes")
    figure.savefig(to)


@contextmanager
def _broker(servers: str | None, state: str) -> Iterator[Settings]:
    """Settings for the broker that was named, or for one of our own."""
    if servers is not None:
        prefix = f"soak-{int(time.time())}"
        yield Settings(bootstrap_servers=servers, topic_prefix=f"{prefix}.", group=prefix, state_dir=Path(state))
        return
    with EmbeddedBroker() as broker:
        yield Settings(bootstrap_servers=broker.bootstrap_servers, state_dir=Path(state))


def main() -> int:
    """Run from the command line; exit code 1 where the worker did not last."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--models", type=int, default=50, help="models (default 50)")
    parser.add_argument("--features", type=int, default=10, help="features of each (default 10)")
    parser.add_argument("--rate", type=float, default=500.0, help="predictions a second, and labels (default 500)")
    parser.add_argument("--pending", type=int, default=100_000, help="predictions without a label (default 100,000)")
    parser.add_argument("--bootstrap-servers", metavar="HOST:PORT", help="a broker that runs; default: an embedded one")
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="where soak.png is drawn")
    add_json_option(parser)
    options = parser.parse_args()
    console = console_for(options.json)
    load = Load(Shape(features=options.features, models=options.models), options.rate, options.pending, options.minutes)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with (
        Progress(*columns, console=console) as progress,
        tempfile.TemporaryDirectory() as state,
        _broker(options.bootstrap_servers, state) as settings,
    ):
        points, failure = asyncio.run(measure(settings, load, progress))
    if failure is not None:
        console.print(f"ended before its time: {failure}")
    if not points:
        return 1
    result = summary(load, points)
    console.print(table(result))
    if find_spec("matplotlib") is None:
        console.print("no plot: matplotlib is not installed (pip install 'driftline[bench]')")
    else:
        options.output.mkdir(parents=True, exist_ok=True)
        plot(points, options.output / "soak.png")
    write_json(result, options.json)
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main())
