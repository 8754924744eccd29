"""Backtests: which rows are the reference, which are judged, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from agents.backtest import FileBacktest, ReferenceCut
from agents.errors import OperatorError
from agents.files import DataFile, RowReader
from agents.spec_file import parse_spec, render_spec
from schemas.model_spec import FeaturesFrom, ModelSpec, ReferenceSpec, Seasonality
from schemas.outbound import Change, DriftEvent, DriftKind, Stage, Tier
from schemas.performance import OutcomeSpec
from schemas.rules import RuleSpec
from tests.support.data import category, numbers, spec_of

START = datetime(2024, 1, 1, tzinfo=UTC)
STABLE, SHIFTED = 2_400, 600
ROWS = STABLE + SHIFTED
PLAIN = spec_of(*numbers("x"), category("plan"), prediction={"output": "score"}, reference=ReferenceSpec(rows=1_000))


def table(**columns: Any) -> dict[str, Any]:
    """Rows a minute apart; after ``STABLE`` of them ``x`` is two sd higher."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=ROWS)
    x[STABLE:] += 2.0
    made = {
        "x": x,
        "plan": rng.choice(["free", "pro"], size=ROWS),
        "score": rng.uniform(size=ROWS),
        "time": [START + timedelta(minutes=row) for row in range(ROWS)],
    }
    return {name: values for name, values in (made | columns).items() if values is not None}


def run(folder: Path, spec: ModelSpec = PLAIN, cut: ReferenceCut | None = None, every: int = 32, **columns: Any):
    path = folder / "rows.parquet"
    pa.parquet.write_table(pa.table(table(**columns)), path)
    backtest = FileBacktest(RowReader(DataFile(path), spec), cut or ReferenceCut(rows=1_000), every)
    return backtest, list(backtest.events())


def check_the_shift_is_found(events: list[DriftEvent]) -> None:
    assert events[0].change is Change.OPENED
    assert {verdict.signal for event in events for verdict in event.signals} == {"feature:x"}
    assert events[-1].tier is Tier.SIGNIFICANT
    assert all(event.row is not None and STABLE <= event.row < ROWS for event in events)


# What is found, and where


def test_a_shift_is_found_in_the_rows_that_it_is_in(tmp_path: Path) -> None:
    _, events = run(tmp_path)
    check_the_shift_is_found(events)


def test_the_row_of_an_event_is_the_last_one_read_when_it_was_raised(tmp_path: Path) -> None:
    backtest, events = run(tmp_path)
    for event in events:
        assert event.row == event.lineage.offsets[0].to_offset - 1
        assert event.time == START + timedelta(minutes=event.row or 0)
        assert (event.row + 1 - backtest.judged.first_row) % backtest.every_rows == 0  # type: ignore[operator]


def test_a_stable_file_raises_nothing(tmp_path: Path) -> None:
    _, events = run(tmp_path, x=np.random.default_rng(9).normal(size=ROWS))
    assert events == []


def test_the_same_file_gives_the_same_events_again(tmp_path: Path) -> None:
    assert run(tmp_path)[1] == run(tmp_path)[1]


def test_a_file_without_times_is_judged_by_rows_and_its_events_have_no_time(tmp_path: Path) -> None:
    _, events = run(tmp_path, time=None)
    check_the_shift_is_found(events)
    assert {event.time for event in events} == {None}


def test_the_last_rows_are_judged_though_they_are_fewer_than_asked_for(tmp_path: Path) -> None:
    backtest, _ = run(tmp_path, every=700)
    assert sum(status.rows for status in backtest.judged.status()) == ROWS - 1_000


# The reference


def test_the_first_rows_are_the_reference_and_are_not_judged(tmp_path: Path) -> None:
    backtest, _ = run(tmp_path, cut=ReferenceCut(rows=1_500))
    frozen = backtest.judged.spec.reference.frozen
    assert frozen is not None
    assert (frozen.rows, backtest.judged.first_row, backtest.judged.rows) == (1_500, 1_500, ROWS - 1_500)


def test_the_rows_before_a_time_are_the_reference(tmp_path: Path) -> None:
    backtest, events = run(tmp_path, cut=ReferenceCut(until=START + timedelta(minutes=1_200)))
    frozen = backtest.judged.spec.reference.frozen
    assert frozen is not None
    assert frozen.rows == 1_200
    check_the_shift_is_found(events)


def test_the_reference_of_the_spec_is_used_where_nothing_else_is_said(tmp_path: Path) -> None:
    backtest, _ = run(tmp_path)
    frozen = parse_spec(render_spec(backtest.judged.spec), "spec.yaml")
    again, events = run(tmp_path, frozen, ReferenceCut())
    assert (again.judged.spec.hash, again.judged.rows) == (frozen.hash, ROWS)
    check_the_shift_is_found(events)


def test_a_spec_without_a_reference_takes_the_rows_that_a_worker_would_collect(tmp_path: Path) -> None:
    backtest, _ = run(tmp_path, cut=ReferenceCut())
    assert backtest.judged.first_row == PLAIN.reference.rows
    assert "the first 1000 rows are taken" in backtest.reader.notes[0]


def test_a_file_that_ends_before_its_reference_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"ends before its reference does: 3000 rows were read"):
        run(tmp_path, cut=ReferenceCut(rows=ROWS + 1))


def test_a_reference_without_a_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="would have no rows"):
        run(tmp_path, cut=ReferenceCut(until=START))


def test_a_reference_until_a_time_needs_times(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no time column 'time': use --reference-rows"):
        run(tmp_path, cut=ReferenceCut(until=START), time=None)


def test_seasons_need_times(tmp_path: Path) -> None:
    seasonal = PLAIN.model_copy(update={"seasonality": Seasonality.DAILY})
    with pytest.raises(OperatorError, match="daily seasonality needs one"):
        run(tmp_path, seasonal, time=None)


# What the file holds


def test_rows_of_another_version_are_left_out_and_counted(tmp_path: Path) -> None:
    versions = ["1"] * ROWS
    versions[2_000:2_100] = ["2"] * 100
    backtest, _ = run(tmp_path, version=versions)
    assert backtest.left_out == {"another version": 100}
    assert backtest.judged.rows == ROWS - 1_000 - 100


def test_each_stage_is_judged_by_itself(tmp_path: Path) -> None:
    stages = [Stage.SHADOW if row % 2 else Stage.PRODUCTION for row in range(ROWS)]
    backtest, events = run(tmp_path, stage=stages)
    judged = {status.stage: status.rows for status in backtest.judged.status()}
    assert judged == {Stage.PRODUCTION: 1_000, Stage.SHADOW: 1_000}
    assert {event.stage for event in events} == {Stage.PRODUCTION, Stage.SHADOW}


def test_a_file_without_the_prediction_is_judged_by_its_features(tmp_path: Path) -> None:
    backtest, events = run(tmp_path, score=None)
    check_the_shift_is_found(events)
    assert "the prediction is not judged" in backtest.reader.notes[0]


def test_features_on_a_stream_of_their_own_are_counted_once(tmp_path: Path) -> None:
    _, events = run(tmp_path, PLAIN.model_copy(update={"features_from": FeaturesFrom.FEATURES}))
    check_the_shift_is_found(events)
    assert {offsets.topic for offsets in events[0].lineage.offsets} == {
        "rows.parquet (features)",
        "rows.parquet (predictions)",
    }


# Labels

LABELLED = PLAIN.model_copy(update={"outcomes": OutcomeSpec()})


def labels(*, wrong: float) -> list[int | None]:
    """What came true: until ``STABLE`` what the score says in 8 of 10 rows, then all but a share of ``wrong``."""
    rng = np.random.default_rng(5)
    scores = table()["score"]
    share = np.where(np.arange(ROWS) < STABLE, 0.2, wrong)
    flipped = rng.uniform(size=ROWS) < share
    return [int((score >= 0.5) != flip) for score, flip in zip(scores, flipped, strict=True)]


def test_performance_that_gets_worse_is_found_though_no_feature_has_changed(tmp_path: Path) -> None:
    stable = np.random.default_rng(9).normal(size=ROWS)
    backtest, events = run(tmp_path, LABELLED, x=stable, label=labels(wrong=0.6))
    assert {verdict.signal for event in events for verdict in event.signals} == {"performance:error"}
    assert events[-1].tier is Tier.SIGNIFICANT
    (verdict,) = events[-1].signals
    assert (verdict.kind, verdict.score_name) == (DriftKind.PERFORMANCE, "increase")
    assert verdict.expected_mean == pytest.approx(0.2, abs=0.03)
    assert sum(status.rows for status in backtest.judged.status()) == ROWS - 1_000


def test_stable_performance_raises_nothing(tmp_path: Path) -> None:
    stable = np.random.default_rng(9).normal(size=ROWS)
    assert run(tmp_path, LABELLED, x=stable, label=labels(wrong=0.2))[1] == []


def test_rows_whose_label_is_not_known_say_nothing_of_performance(tmp_path: Path) -> None:
    known = [label if row % 3 else None for row, label in enumerate(labels(wrong=0.2))]
    stable = np.random.default_rng(9).normal(size=ROWS)
    backtest, events = run(tmp_path, LABELLED, x=stable, label=known)
    assert events == []
    frozen = backtest.judged.spec.reference.frozen
    assert frozen is not None
    assert "missing" not in str(frozen.bins["label"])


def test_a_file_without_labels_is_judged_without_them_and_says_so(tmp_path: Path) -> None:
    backtest, events = run(tmp_path, LABELLED)
    check_the_shift_is_found(events)
    assert any("performance is not judged" in note for note in backtest.reader.notes)


# Rules

RULED = PLAIN.model_copy(
    update={
        "outcomes": OutcomeSpec(),
        "rules": (
            RuleSpec(name="low", expression="x < 2.5 or plan is missing"),
            RuleSpec(name="awake", expression="x < 2.5 or time.hour > 6"),
            RuleSpec(name="sure", expression="x < 2.5 or score > 2"),
            RuleSpec(name="right", expression="x < 2.5 or label == '9'"),
        ),
    }
)


def broken_rules(events: list[DriftEvent]) -> set[str]:
    return {verdict.signal for event in events for verdict in event.signals if verdict.signal.startswith("quality:")}


def test_rules_that_are_broken_more_often_are_named(tmp_path: Path) -> None:
    _, events = run(tmp_path, RULED, label=labels(wrong=0.2))
    assert broken_rules(events) == {f"quality:rule:{name}" for name in ("low", "awake", "sure", "right")}


def test_a_rule_that_reads_what_the_file_has_not_is_left_out_and_named(tmp_path: Path) -> None:
    backtest, events = run(tmp_path, RULED, time=None, score=None)
    assert broken_rules(events) == {"quality:rule:low"}
    told = [note.partition(" has not ")[2] for note in backtest.reader.notes if " has not " in note]
    assert told == [
        "the time: rule awake is not asked",
        "the prediction: rule sure is not asked",
        "the label: rule right is not asked",
    ]
