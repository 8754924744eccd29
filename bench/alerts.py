"""How many events a person receives, beside one event for each threshold crossing in each window.

``python -m bench.alerts --data DIR`` runs backtests over the flights from New York in 2013 (features against January to
March, and the model that ``driftline demo`` trains) and over NannyML's car-loan data, and lets the usual policy decide
what follows. ``crossings`` is what a monitor without incidents would send: one event whenever a signal's score is beyond
its threshold in a step, though driftline's scores are steadier than those of single windows. ``alerts and digests`` is what
people receive; ``with responses`` counts what pipelines are asked as well. ``missed`` are incidents that are in no alert
and in no digest (the last digest counts as sent).
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
import pyarrow.csv
import pyarrow.parquet
from rich.box import SIMPLE_HEAD
from rich.table import Table

from agents.backtest import Backtest, FileBacktest, ReferenceCut
from agents.demo.flights import CATEGORIES, NUMBERS, TIMEZONE, load
from agents.drafts import draft_spec
from agents.files import DataFile, RowReader
from agents.rehearsal import Rehearsal
from bench.output import add_json_option, console_for, write_json
from detector.responses.inputs import Sent
from schemas.model_spec import ColumnNames, ModelSpec, Seasonality
from schemas.outbound import DriftEvent, Tier
from schemas.performance import OutcomeSpec
from schemas.responses import Alert, Digest, Tick

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
                minor = backtest.spec.tiers.minor
                self.count += sum(signal.score >= minor for signal in status.signals if ":" in signal.signal)
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
