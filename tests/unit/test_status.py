import pytest

from agents.metrics import Metrics
from agents.status import STATUS_INTERVAL_S, StatusBoard, fitted
from schemas.model_spec import Stage
from schemas.outbound import DriftEvent, LabelStatus, ModelState, ModelStatus, SignalStatus, Tier
from tests.support.drift_events import drift_event, verdict


def status(steps: int = 1, tier: Tier = Tier.NONE, **fields: object) -> ModelStatus:
    signal = SignalStatus(signal="feature:x", tier=tier, score=0.1, evidence=1.0, threshold=13.0)
    usual = {"model": "m", "version": "1", "state": ModelState.WATCHING, "rows": 32 * steps, "steps": steps,
             "time": None, "tier": tier, "signals": (signal,)}  # fmt: skip
    return ModelStatus(**(usual | fields))  # type: ignore[arg-type]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def board(metrics: Metrics) -> StatusBoard:
    return StatusBoard("driftline.model-status", metrics)


def told(board: StatusBoard, now: float, *, at_once: bool = False) -> list[ModelStatus]:
    return [ModelStatus.model_validate_json(record.value or b"") for record in board.due(now, at_once=at_once)]


def test_a_status_is_keyed_by_model_version_and_stage(board: StatusBoard):
    board.offer([status(stage=Stage.SHADOW)])
    (record,) = board.due(0.0)
    assert (record.topic, record.key) == ("driftline.model-status", b"m/1/shadow")


def test_a_status_that_did_not_change_is_not_sent_again(board: StatusBoard):
    board.offer([status()])
    assert told(board, 0.0) == [status()]
    board.offer([status()])
    assert told(board, 100.0) == []


def test_changes_within_the_interval_wait_and_the_last_one_is_sent(board: StatusBoard):
    board.offer([status(1)])
    assert told(board, 0.0) == [status(1)]
    board.offer([status(2)])
    board.offer([status(3)])
    assert told(board, STATUS_INTERVAL_S / 2) == []
    assert told(board, STATUS_INTERVAL_S) == [status(3)]


def test_a_worker_that_leaves_does_not_wait(board: StatusBoard):
    board.offer([status(1)])
    board.due(0.0)
    board.offer([status(2)])
    assert told(board, 0.1, at_once=True) == [status(2)]


def test_stages_have_intervals_of_their_own(board: StatusBoard):
    board.offer([status(1)])
    board.due(0.0)
    board.offer([status(1, stage=Stage.CANARY)])
    assert told(board, 0.1) == [status(1, stage=Stage.CANARY)]


def test_tiers_and_steps_are_shown_in_the_metrics(board: StatusBoard, metrics: Metrics):
    labels = {"model": "m", "version": "1", "stage": "production"}
    board.offer([status(3, Tier.MODERATE)])
    board.offer([status(5, Tier.SIGNIFICANT)])
    assert metrics.value("driftline_tier", **labels, signal="feature:x") == Tier.SIGNIFICANT.rank
    assert metrics.value("driftline_steps_total", **labels) == 5


def test_steps_that_an_earlier_owner_judged_are_not_counted_here(board: StatusBoard, metrics: Metrics):
    board.take_over([status(100)])
    board.offer([status(104)])
    assert metrics.value("driftline_steps_total", model="m", version="1", stage="production") == 4


def test_tiers_of_models_that_another_worker_judges_are_no_longer_shown(board: StatusBoard, metrics: Metrics):
    board.offer([status(tier=Tier.MINOR)])
    board.clear()
    assert b"driftline_tier{" not in metrics.expose()


def test_an_event_too_large_for_its_topic_keeps_the_signals_that_come_first():
    event = drift_event(signals=tuple(verdict(f"feature:{number}") for number in range(5_000)))
    value = fitted(event, limit=200_000)
    kept = DriftEvent.model_validate_json(value)
    assert len(value) < 200_000
    assert kept.signals == event.signals[: len(kept.signals)]
    assert len(kept.signals) > 100


def test_an_event_that_fits_is_left_as_it_is():
    assert DriftEvent.model_validate_json(fitted(drift_event(), limit=200_000)) == drift_event()


def test_label_lag_and_coverage_are_shown_and_taken_away_with_the_partition(board: StatusBoard, metrics: Metrics):
    labels = LabelStatus(rows=10, coverage=0.25, lag_p50_s=60.0, lag_p90_s=90.0, lag_p99_s=99.0)
    board.offer([status(labels=labels)])
    subject = {"model": "m", "version": "1", "stage": "production"}
    assert metrics.value("driftline_label_coverage", **subject) == 0.25
    assert metrics.value("driftline_label_lag_seconds", **subject, quantile="0.9") == 90.0
    board.clear()
    assert b"driftline_label_coverage{" not in metrics.expose()
    assert b"driftline_label_lag_seconds{" not in metrics.expose()
