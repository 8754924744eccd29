"""How fast driftline is, beside aiokafka alone and beside the agent that one would write first.

``python -m bench.throughput --json -`` starts an embedded broker for each of them in turn, keeps a topic filled, and
reads the speed of one process:

(a) aiokafka's ``getmany`` alone: what the client library can fetch,
(b) a plain Faust agent with pydantic that feeds River's ADWIN for each feature and a logistic regression,
(c) driftline's worker, all of it: verdicts, publishing and committing are on,
(d) driftline with 50 rows in a message,
(e) driftline's worker where labels are read: predictions that wait for their label, then labels that find theirs,

and the time from a record's append to the arrival of the drift event that it caused.

With ``--validation`` instead: (c) and (d) with nothing validated, and with everything that there is.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.broker import EmbeddedBroker
from agents.registry import Registry
from agents.settings import Settings
from agents.topics import ensure_topics
from bench.events import EventSource, Shape, labelled_specs, specs, validated_specs
from bench.feeder import Feeder
from bench.latency import latencies
from bench.measured import Measured, Subject, Worker
from bench.outcomes import outcome_rates
from bench.output import add_json_option, console_for, write_json
from schemas.model_spec import ModelSpec

ROWS_PER_BATCH: Final = 50
PREPARED_EVENTS: Final = 100_000
LATENCY_MODELS: Final = 20
PAIRS_PER_S: Final = 20_000
"""So many predictions with their labels are fed for each second of a measurement."""
BACKLOG: Final = 500_000
"""Records that wait before aiokafka alone begins: no feeder keeps up with it on two cores."""
AHEAD: Final = {"naive": 20_000, "driftline": 150_000}
"""Records that wait for the others at any time."""

ASKED: Final = {
    "ratio_to_naive": ("at least", 15.0),
    "share_of_aiokafka": ("at least", 0.35),
    "ratio_of_batches": ("at least", 5.0),
    "outcomes_joined_per_s": ("at least", 15_000.0),
    "alert_latency_p99_s": ("below", 3.0),
    "share_validated": ("at least", 0.6),
    "share_validated_of_batches": ("at least", 0.6),
}


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seconds: float
    shape: Shape


async def measure(plan: Plan, progress: Progress) -> dict[str, float]:
    """Measure all, one after the other."""
    batches = replace(plan.shape, rows_per_event=ROWS_PER_BATCH)
    with _step(progress, "aiokafka getmany alone"):
        alone = await _backlog(plan)
    with _step(progress, "a plain Faust agent with pydantic and River"):
        naive = await _subject(plan, "naive")
    with _step(progress, "driftline's worker"):
        events = await _worker(plan.seconds, plan.shape)
    with _step(progress, f"driftline's worker, {ROWS_PER_BATCH} rows a message"):
        rows = ROWS_PER_BATCH * await _worker(plan.seconds, batches)
    with _step(progress, "labels joined with their predictions"):
        joined = await _outcomes(plan)
    with _step(progress, "alert latency"):
        delays = await _latency(plan.seconds * 4)
    if not delays:
        raise RuntimeError("no drift event came while the alert latency was measured: raise --seconds")
    return {
        "aiokafka_events_per_s": round(alone),
        "naive_events_per_s": round(naive),
        "driftline_events_per_s": round(events),
        "driftline_rows_per_s": round(rows),
        **joined,
        "ratio_to_naive": round(events / naive, 2),
        "share_of_aiokafka": round(events / alone, 3),
        "ratio_of_batches": round(rows / events, 2),
        "alert_latency_p50_s": round(float(np.quantile(delays, 0.5)), 3),
        "alert_latency_p99_s": round(float(np.quantile(delays, 0.99)), 3),
        "alerts": len(delays),
    }


async def measure_validation(plan: Plan, progress: Progress) -> dict[str, float]:
    """Measure what validation costs: the same events, with models that ask for none of it and for all."""
    found: dict[str, float] = {}
    for shape, unit in ((plan.shape, "events"), (replace(plan.shape, rows_per_event=ROWS_PER_BATCH), "rows")):
        for name, models in (("plain", specs(shape)), ("validated", validated_specs(shape))):
            with _step(progress, f"driftline's worker, {name}, {shape.rows_per_event} rows a message"):
                rate = await _worker(plan.seconds, shape, models)
            found[f"{name}_{unit}_per_s"] = round(rate * shape.rows_per_event)
    return {
        **found,
        "share_validated": round(found["validated_events_per_s"] / found["plain_events_per_s"], 3),
        "share_validated_of_batches": round(found["validated_rows_per_s"] / found["plain_rows_per_s"], 3),
    }


async def _backlog(plan: Plan) -> float:
    with EmbeddedBroker() as broker:
        settings = _settings(broker)
        await ensure_topics(settings)
        topic = settings.topic("predictions")
        async with Feeder(broker.bootstrap_servers, topic, settings.partitions) as feeder:
            await feeder.prepare([EventSource(plan.shape)], PREPARED_EVENTS)
            await feeder.fill(BACKLOG)
            subject = Subject()
            async with subject.running("aiokafka", broker.bootstrap_servers, topic):
                async with asyncio.timeout(120):
                    while subject.done() < feeder.sent:
                        subject.check()
                        await asyncio.sleep(0.05)
            return subject.rate_from_start()


async def _subject(plan: Plan, name: str) -> float:
    with EmbeddedBroker() as broker:
        settings = _settings(broker)
        await ensure_topics(settings)
        subject = Subject()
        async with subject.running(name, broker.bootstrap_servers, settings.topic("predictions")):
            return await _feed(subject, settings, plan.shape, plan.seconds, AHEAD[name])


async def _worker(seconds: float, shape: Shape, models: Iterable[ModelSpec] | None = None) -> float:
    with EmbeddedBroker() as broker:
        settings = _settings(broker)
        await register(settings, specs(shape) if models is None else models)
        worker = Worker(settings)
        async with worker.running():
            return await _feed(worker, settings, shape, seconds, AHEAD["driftline"] // shape.rows_per_event)


async def _outcomes(plan: Plan) -> dict[str, float]:
    shape = replace(plan.shape, models=1)
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as state:
        settings = _settings(broker).model_copy(update={"state_dir": Path(state)})
        await register(settings, labelled_specs(shape))
        worker = Worker(settings)
        async with worker.running():
            return await outcome_rates(worker, settings, shape, int(plan.seconds * PAIRS_PER_S))


async def _latency(seconds: float) -> list[float]:
    shape = Shape(models=LATENCY_MODELS)
    with EmbeddedBroker() as broker:
        settings = _settings(broker)
        await register(settings, specs(shape))
        async with Worker(settings).running():
            return await latencies(settings, shape, seconds)


def _settings(broker: EmbeddedBroker) -> Settings:
    return Settings(bootstrap_servers=broker.bootstrap_servers)


async def register(settings: Settings, models: Iterable[ModelSpec]) -> None:
    """Make the topics and register the models."""
    await ensure_topics(settings)
    async with Registry(settings) as registry:
        for spec in models:
            await registry.publish(spec)


async def _feed(measured: Measured, settings: Settings, shape: Shape, seconds: float, ahead: int) -> float:
    """Feed a process for so many seconds after it has begun to consume; return records per second."""
    sources = [EventSource(shape, model) for model in range(shape.models)]
    async with Feeder(settings.bootstrap_servers, settings.topic("predictions"), settings.partitions) as feeder:
        await feeder.prepare(sources, PREPARED_EVENTS // shape.rows_per_event)
        feeding = asyncio.create_task(feeder.feed(measured.done, ahead))
        try:
            async with asyncio.timeout(60):
                while not any(records for _, records in measured.samples):
                    measured.check()
                    await asyncio.sleep(0.05)
            await asyncio.sleep(seconds)
            measured.check()
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding
    return measured.rate()


class _step:  # noqa: N801
    """Shows what is being measured."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._task = progress, progress.add_task(name, total=1)

    def __enter__(self) -> None:
        self._progress.start_task(self._task)

    def __exit__(self, *error: object) -> None:
        self._progress.advance(self._task)


def table(result: dict[str, Any]) -> Table:
    """Lay the result out for people."""
    out = Table(title="One process, 20 numeric features, 650 bytes of JSON an event")
    for heading in ("", "measured", "asked"):
        out.add_column(heading, justify="left" if not heading else "right")
    for key, value in result.items():
        word, limit = ASKED.get(key, ("", 0.0))
        out.add_row(key, f"{value:,}", f"{word} {limit:g}" if word else "")
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default 10)")
    parser.add_argument("--quick", action="store_true", help="five seconds of each: for a first look")
    parser.add_argument("--models", type=int, default=1, help="models whose events take turns (default 1)")
    parser.add_argument("--features", type=int, default=20, help="numeric features of each (default 20)")
    parser.add_argument("--validation", action="store_true", help="what validation costs, instead of the rest")
    parser.add_argument("--segments", type=int, default=0, help="fields by which rows are broken down (default 0)")
    add_json_option(parser)
    options = parser.parse_args()
    console = console_for(options.json)
    plan = Plan(
        5.0 if options.quick else options.seconds,
        Shape(features=options.features, models=options.models, segments=options.segments),
    )
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        result = asyncio.run((measure_validation if options.validation else measure)(plan, progress))
    console.print(table(result))
    write_json(result, options.json)


if __name__ == "__main__":
    main()
