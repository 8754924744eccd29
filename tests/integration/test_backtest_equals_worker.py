"""What a backtest finds in a file is what a worker finds in the same rows on a broker."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from agents.backtest import Backtest
from agents.files import DataFile, RowReader
from agents.settings import Settings
from agents.worker import running_worker
from detector.rows import Source
from schemas.outbound import Change, DriftEvent, Tier
from tests.support.data import MONDAY
from tests.support.produce import produce
from tests.support.profiling import register
from tests.support.worker import EVERY_ROWS, STABLE_ROWS, drift_events, prediction, until_judged, watched

SHIFTED_ROWS = 800
QUIET_ROWS = 1_000
ALL_ROWS = STABLE_ROWS + SHIFTED_ROWS + QUIET_ROWS
CHUNK_ROWS = 50


def events() -> list[dict[str, Any]]:
    """Predictions, one a second: as the reference, then shifted, then as the reference again."""
    numbers = [*range(STABLE_ROWS + SHIFTED_ROWS), *range(QUIET_ROWS)]
    shifted = range(STABLE_ROWS, STABLE_ROWS + SHIFTED_ROWS)
    made = [json.loads(prediction(number, shifted=place in shifted)) for place, number in enumerate(numbers)]
    return [event | {"time": datetime.fromtimestamp(MONDAY + i, UTC).isoformat()} for i, event in enumerate(made)]


STREAM = events()


def write(path: Path) -> DataFile:
    """Write the same rows as a file."""
    columns = {name: [event["features"][name] for event in STREAM] for name in STREAM[0]["features"]}
    times = [datetime.fromisoformat(event["time"]) for event in STREAM]
    pa.parquet.write_table(pa.table({**columns, "time": times}), path)
    return DataFile(path)


def backtest(path: Path, topic: str, every_rows: int) -> list[DriftEvent]:
    run = Backtest(watched(), {Source.PREDICTIONS: topic}, every_rows)
    reader = RowReader(write(path), watched())
    return [event for chunk in reader.chunks() for event in run.feed(chunk.rows)]


async def feed(settings: Settings, first: int, last: int) -> None:
    records = [(None, json.dumps(event).encode()) for event in STREAM[first:last]]
    await produce(settings, settings.topic("predictions"), records)


def highest_tiers(found: list[DriftEvent]) -> dict[tuple[str, str], Tier]:
    """The highest tier that each signal of a model was given."""
    highest: dict[tuple[str, str], Tier] = {}
    for event in found:
        for verdict in event.signals:
            key = (event.model, verdict.signal)
            highest[key] = max(verdict.tier, highest.get(key, Tier.NONE), key=lambda tier: tier.rank)
    return highest


async def test_cut_at_the_same_rows_a_backtest_and_a_worker_find_identical_incidents(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"publish_every_rows": EVERY_ROWS, "web_port": 0})
    async with running_worker(settings):
        await register(settings, watched())
        await feed(settings, 0, ALL_ROWS)
        await until_judged(settings, ALL_ROWS)
    by_worker = await drift_events(settings)
    by_backtest = backtest(tmp_path / "rows.parquet", settings.topic("predictions"), EVERY_ROWS)

    assert {Change.OPENED, Change.ESCALATED, Change.RESOLVED} <= {event.change for event in by_worker}
    assert [event.model_copy(update={"row": None}) for event in by_backtest] == by_worker
    assert [event.row for event in by_backtest] == [event.lineage.offsets[0].to_offset - 1 for event in by_worker]


async def test_by_the_clock_a_worker_finds_the_same_signals_and_tiers_as_a_backtest(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"publish_interval_s": 0.05, "web_port": 0})
    async with running_worker(settings):
        await register(settings, watched())
        for first in range(0, ALL_ROWS, CHUNK_ROWS):
            await feed(settings, first, first + CHUNK_ROWS)
            await asyncio.sleep(0.05)
        await until_judged(settings, ALL_ROWS)
    by_worker = await drift_events(settings)
    by_backtest = backtest(tmp_path / "rows.parquet", settings.topic("predictions"), CHUNK_ROWS)

    assert highest_tiers(by_worker) == highest_tiers(by_backtest) == {("m", "feature:x"): Tier.SIGNIFICANT}
