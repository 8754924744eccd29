"""How many events a person receives, beside one event for each threshold crossing in each window.

``python -m bench.alerts --data DIR`` runs backtests over the features of the flights from New York in 2013, against
those of January to March, and over NannyML's car-loan data, and lets the usual policy decide what follows.
``crossings`` is what a monitor without incidents would send: one event for each signal whose score is minor or more, in
each step. ``share`` is what people receive of that, alerts and digests. ``missed`` are incidents that are in no alert
and in no digest; two days without rows at the end let the last digest go out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet
from rich.box import SIMPLE_HEAD
from rich.table import Table

from agents.backtest import Backtest, FileBacktest, ReferenceCut
from agents.demo.flights import FEATURES, TIMEZONE, load
from agents.drafts import draft_spec
from agents.files import DataFile, RowReader
from agents.rehearsal import Rehearsal
from bench.output import add_json_option, console_for, write_json
from detector.responses.inputs import Sent
from schemas.model_spec import ColumnNames
from schemas.outbound import DriftEvent
from schemas.responses import Alert, Digest

FLIGHTS_REFERENCE: Final = datetime(2013, 4, 1, 4, tzinfo=UTC)
"""Midnight in New York."""
LOANS: Final = ColumnNames(time="timestamp", prediction="y_pred", score="y_pred_proba", label="repaid")


@dataclass(slots=True)
class Result:
    """What one backtest came to."""

    name: str
    steps: int = 0
    crossings: int = 0
    incidents: int = 0
    drift_events: int = 0
    alerts: int = 0
    digests: int = 0
    responses: int = 0
    missed: int = 0

    @property
    def share(self) -> float:
        """Of the crossings: what people receive."""
        return (self.alerts + self.digests) / max(1, self.crossings)


class _Crossings:
    """Counts signals beyond their threshold, once a step."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self.steps = 0
        self.count = 0

    def look(self, backtest: Backtest) -> None:
        for status in backtest.status():
            if status.steps > self.steps:
                self.steps = status.steps
                self.count += sum(signal.score >= backtest.spec.tiers.minor for signal in status.signals)
        self._rehearsal.look(backtest)


def measure(name: str, run: FileBacktest) -> Result:
    """Run a backtest and let the policy decide."""
    rehearsal = Rehearsal()
    crossings = _Crossings(rehearsal)
    run.looked = crossings.look
    found: list[DriftEvent] = []
    for event in run.events():
        found.append(event)
        rehearsal.take(event, run.judged.spec)
    rehearsal.wait(timedelta(days=2), run.judged.spec)
    return _result(name, crossings, found, rehearsal.decisions)


def _result(name: str, crossings: _Crossings, found: list[DriftEvent], decided: Iterable[Sent]) -> Result:
    result = Result(name, crossings.steps, crossings.count, len({each.incident_id for each in found}), len(found))
    told: set[str] = set()
    for each in decided:
        match each:
            case Alert():
                result.alerts += 1
                told.add(each.incident_id)
            case Digest():
                result.digests += 1
                told |= {incident.incident_id for group in each.groups for incident in group.incidents}
            case _:
                result.responses += 1
    result.missed = len({each.incident_id for each in found} - told)
    return result


def flights(folder: Path, every_rows: int) -> FileBacktest:
    """The features of a year of flights."""
    rows = load()
    columns = {feature: pa.array(rows.column(feature)) for feature in FEATURES}
    times = pa.array(rows.times.astype("int64"), pa.timestamp("s", "UTC"))
    path = folder / "flights.parquet"
    pyarrow.parquet.write_table(pa.table({"time": times, **columns}), path)
    spec = draft_spec(path, "flights", "1", columns=ColumnNames(), fields={"timezone": TIMEZONE}).spec
    return FileBacktest(RowReader(DataFile(path), spec), ReferenceCut(until=FLIGHTS_REFERENCE), every_rows)


def loans(data: Path, every_rows: int) -> FileBacktest:
    """The features and predictions of the car loans."""
    reference, analysis = (data / f"car_loan_{part}.csv.gz" for part in ("reference", "analysis"))
    spec = draft_spec(reference, "car-loans", "1", columns=LOANS, exclude=["id"]).spec
    return FileBacktest(RowReader(DataFile(analysis), spec), ReferenceCut(), every_rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NannyML's car_loan_*.csv.gz")
    parser.add_argument("--every-rows", type=int, default=64, help="rows between two totals")
    add_json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [
            measure("flights", flights(Path(folder), options.every_rows)),
            measure("car loans", loans(options.data, options.every_rows)),
        ]
    console = console_for(options.json, 110)
    console.print(_table(results))
    write_json([{**asdict(each), "share": round(each.share, 4)} for each in results], options.json)


def _table(results: Iterable[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("data")
    for name in (
        "steps",
        "crossings",
        "incidents",
        "drift events",
        "alerts",
        "digests",
        "share",
        "responses",
        "missed",
    ):
        table.add_column(name, justify="right")
    for each in results:
        counts = (each.steps, each.crossings, each.incidents, each.drift_events, each.alerts, each.digests)
        shown = [f"{count:,}" for count in counts]
        table.add_row(each.name, *shown, f"{each.share:.2%}", f"{each.responses:,}", str(each.missed))
    return table


_COLUMNS: Final = (
    "steps", "crossings", "incidents", "drift events", "alerts", "digests", "share", "responses", "missed",
)  # fmt: skip

if __name__ == "__main__":
    main()
