"""What a policy would have made of a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from agents.backtest import FileBacktest, ReferenceCut
from agents.cli import app
from agents.files import DataFile, RowReader
from agents.rehearsal import Rehearsal
from agents.spec_file import write_spec
from bench.alerts import measure
from schemas.model_spec import ModelSpec, ReferenceSpec, RetrainingSpec
from schemas.responses import Alert, RetrainRequest, Trigger
from tests.support.data import numbers, spec_of

START = datetime(2024, 1, 1, tzinfo=UTC)
STABLE, SHIFTED = 2_400, 600
SPEC = spec_of(
    *numbers("x"),
    reference=ReferenceSpec(rows=1_000),
    retraining=RetrainingSpec(answers={"within": None}, scheduled={"cron": "0 0 * * WED"}),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows two minutes apart; the last few hundred are two sd higher."""
    x = np.random.default_rng(5).normal(size=STABLE + SHIFTED)
    x[STABLE:] += 2.0
    times = [START + timedelta(minutes=2 * row) for row in range(len(x))]
    path = tmp_path_factory.mktemp("rehearsal") / "rows.parquet"
    pa.parquet.write_table(pa.table({"x": x, "time": times}), path)
    return path


def backtest(data: Path, spec: ModelSpec = SPEC) -> FileBacktest:
    return FileBacktest(RowReader(DataFile(data), spec), ReferenceCut(rows=1_000), 32)


def test_the_calendar_and_the_incidents_of_a_file_ask_for_retraining_when_they_would_have(data: Path):
    rehearsal, run = Rehearsal(), backtest(data)
    run.looked = rehearsal.look
    for event in run.events():
        rehearsal.take(event, run.judged.spec)
    scheduled, drifted = [each for each in rehearsal.decisions if isinstance(each, RetrainRequest)]
    assert scheduled.trigger is Trigger.SCHEDULE
    assert START + timedelta(days=2) <= scheduled.time < START + timedelta(days=2, hours=3)
    assert drifted.trigger is Trigger.INCIDENT
    assert START + timedelta(minutes=2 * STABLE) <= drifted.time
    assert any(isinstance(each, Alert) for each in rehearsal.decisions)


def test_a_person_receives_a_fraction_of_the_crossings_and_misses_no_incident(data: Path):
    result = measure("rows", backtest(data))
    assert result.incidents >= 1
    assert (result.missed, result.share <= 0.3) == (0, True)


def test_the_command_line_writes_what_would_have_followed(data: Path, tmp_path: Path):
    spec, out = tmp_path / "spec.yaml", tmp_path / "followed.jsonl"
    write_spec(spec, SPEC)
    arguments = ["backtest", str(spec), str(data), "--responses", str(out), "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    topics = {json.loads(line)["topic"] for line in out.read_text().splitlines()}
    assert topics >= {"responses", "retrain-requests", "alerts"}
