"""The demo: what it trains, sends and says is true of the flights."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from agents.demo.flights import FEATURES, Flights, load
from agents.demo.model import BLOCKS, auc, rows_of
from agents.demo.player import Schedule, encode_outcomes, encode_predictions
from agents.demo.run import Options, Outcome, run
from agents.demo.summary import by_month
from agents.demo.worker_process import PUBLISH_EVERY_ROWS
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.profile import Profile
from detector.rows import Column, Rows
from detector.totals import RunningTotal
from schemas import codec
from schemas.inbound import OutcomeEvent, PredictionEvent
from schemas.outbound import Change, DriftEvent, DriftKind, Tier
from schemas.performance import Metric

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAYS = 40
"""April, and a little of May: long enough for spring to be found."""
TEMPERATURE = "feature:temperature"
BRIER = "performance:brier"


@dataclass(frozen=True)
class Ran:
    outcome: Outcome
    printed: str


@pytest.fixture(scope="module")
def demo() -> Ran:
    """A short run, as fast as the machine can, without a terminal."""
    written = io.StringIO()
    outcome = run(Options(speed=100.0, days=DAYS), Console(file=written, width=100))
    return Ran(outcome, written.getvalue())


@pytest.fixture(scope="module")
def flights() -> Flights:
    return load()


@pytest.fixture(scope="module")
def judged(demo: Ran) -> list[DriftEvent]:
    """What is decided of the same flights where every label comes as soon as its flight has arrived.

    In the worker labels come later by as much as it is behind, which differs from run to run.
    """
    prepared = demo.outcome.prepared
    predictions, outcomes = rows_of(prepared.spec, prepared.flights, prepared.scores)
    arrivals = prepared.flights.arrivals[prepared.flights.arrived]
    streams = (
        (predictions, np.arange(len(predictions)), predictions.times),
        (outcomes, np.argsort(arrivals, kind="stable"), np.sort(arrivals)),
    )
    judge, layout, cuts = ModelJudge(prepared.spec), Layout(prepared.spec), []
    for rows, order, times in streams:
        total = RunningTotal(layout, rows.source, 0)
        for start in range(0, len(rows) - PUBLISH_EVERY_ROWS + 1, PUBLISH_EVERY_ROWS):
            stop = start + PUBLISH_EVERY_ROWS
            cuts.append((times[stop - 1], total, chosen(rows, order[start:stop], start), stop))
    events: list[DriftEvent] = []
    for _, total, part, stop in sorted(cuts, key=lambda cut: cut[0]):
        total.add(part, stop)
        events += judge.fold(total.to_event())
    return events


def chosen(rows: Rows, places: NDArray[np.int64], first_offset: int) -> Rows:
    """Some rows of a source, as a log holds them from an offset on."""

    def pick(columns: tuple[Column | None, ...] | None) -> Any:
        return columns and tuple(
            column[places] if isinstance(column, np.ndarray) else column and [column[place] for place in places]
            for column in columns
        )

    offsets = np.arange(first_offset, first_offset + len(places))
    return Rows(
        rows.source, offsets, rows.times[places], rows.stages[places], pick(rows.columns), context=pick(rows.context)
    )


def mean_temperature(flights: Flights, since: datetime | None, until: datetime | None) -> float:
    assert since is not None
    assert until is not None
    chosen = (flights.times >= since.timestamp()) & (flights.times <= until.timestamp())
    return float(np.nanmean(flights.column("temperature")[chosen]))


# The data


def test_flights_come_in_the_order_of_time_each_with_the_weather_of_its_hour_and_airport(flights: Flights) -> None:
    assert len(flights) == 336_776
    assert (np.diff(flights.times) >= 0).all()
    by_hour: dict[tuple[str, int], set[float]] = {}
    for origin, at, temperature in zip(
        flights.origin, flights.times // 3_600, flights.column("temperature"), strict=True
    ):
        if not np.isnan(temperature):
            by_hour.setdefault((str(origin), int(at)), set()).add(float(temperature))
    assert all(len(temperatures) == 1 for temperatures in by_hour.values())


def test_no_two_flights_share_a_prediction_id(flights: Flights) -> None:
    day = flights[flights.days == flights.days[100_000]]
    assert len(set(day.prediction_ids)) == len(day) > 500


def test_what_is_sent_is_what_the_contract_asks_for(flights: Flights) -> None:
    some = flights[:500]
    scores = np.linspace(0.0, 1.0, 500)
    for value, at, score in zip(encode_predictions(some, scores), some.times, scores, strict=True):
        event = codec.decode(PredictionEvent, value)
        assert event.time is not None
        assert event.time.timestamp() == at
        assert event.score == pytest.approx(score, abs=1e-6)
        assert tuple(event.features or ()) == FEATURES


def test_a_flight_that_arrived_is_told_of_at_its_arrival_under_the_id_of_its_prediction(flights: Flights) -> None:
    some = flights[flights.arrived][:500]
    predictions = encode_predictions(some, np.zeros(500))
    for value, answer, arrival, late in zip(encode_outcomes(some), predictions, some.arrivals, some.late, strict=True):
        event = codec.decode(OutcomeEvent, value)
        assert event.prediction_id == codec.decode(PredictionEvent, answer).prediction_id
        assert event.time is not None
        assert event.time.timestamp() == arrival
        assert event.label == ("late" if late else "on time")


def test_arrivals_are_told_by_the_destination_s_clock_and_come_when_flights_do(flights: Flights) -> None:
    """Half an hour to 14 hours after the schedule's departure, but for flights that left a day late, and slips."""
    hours = (flights.arrivals - flights.times)[flights.arrived] / 3_600
    assert np.isnan(flights.arrivals[~flights.arrived]).all()
    assert (hours >= 0.0).all()
    assert ((hours > 0.5) & (hours < 14.0)).mean() > 0.999
    assert np.median(hours) == pytest.approx(2.8, abs=0.1)


def test_all_that_happens_is_played_in_the_order_of_time_and_cancelled_flights_never_arrive(flights: Flights) -> None:
    days = flights[(flights.days >= np.datetime64("2013-02-08")) & (flights.days < np.datetime64("2013-02-11"))]
    schedule = Schedule.of(days)
    assert (~days.arrived).sum() > 300  # a blizzard
    assert (np.diff(schedule.times) >= 0).all()
    assert sorted(schedule.flights[~schedule.is_arrival]) == list(range(len(days)))
    assert sorted(schedule.flights[schedule.is_arrival]) == np.flatnonzero(days.arrived).tolist()


def test_next_year_s_flights_have_other_ids_than_this_year_s(flights: Flights) -> None:
    some = flights[:1_000]
    assert not set(some.prediction_ids) & set(some.later(365 * 86_400.0).prediction_ids)


# The model


def test_the_reference_is_made_of_answers_on_days_that_the_model_had_not_seen(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    unseen = auc(prepared.training, prepared.trained.scores)
    seen = auc(prepared.training, prepared.trained.model.score(prepared.training))
    assert 0.6 < unseen < seen - 0.05
    frozen = prepared.spec.reference.frozen
    assert frozen is not None
    layout, counted = Layout(prepared.spec), Profile()
    for rows in rows_of(prepared.spec, prepared.training, prepared.trained.scores):
        counted.add(layout.count(rows))
    assert counted.encode() == frozen.profile
    assert BLOCKS > 1


# The findings


def joined(events: list[DriftEvent], signal: str) -> DriftEvent:
    """The first event in which a signal has a tier."""
    return next(event for event in events if signal in {v.signal for v in event.signals if v.tier is not Tier.NONE})


def test_everything_that_was_sent_is_judged_but_for_a_last_step_that_is_not_full(demo: Ran) -> None:
    played, findings = demo.outcome.played, demo.outcome.findings
    flights = demo.outcome.prepared.flights
    assert played.predictions == len(flights)
    assert played.outcomes == flights.arrived.sum()
    assert findings.rows_judged == played.predictions - played.predictions % PUBLISH_EVERY_ROWS
    assert played.outcomes - PUBLISH_EVERY_ROWS < findings.labels_judged <= played.outcomes


def test_spring_is_found_in_the_inputs_and_in_the_performance_and_nothing_else_is(demo: Ran) -> None:
    events = demo.outcome.findings.events
    assert events[0].change is Change.OPENED
    assert max(event.tier.rank for event in events) == Tier.SIGNIFICANT.rank
    signals = {verdict.signal for event in events for verdict in event.signals}
    assert {TEMPERATURE, BRIER} <= signals <= {TEMPERATURE, BRIER, "performance:error"}
    diagnosis = joined(events, BRIER).diagnosis
    assert diagnosis is not None
    assert diagnosis.drifts == (DriftKind.DATA, DriftKind.PERFORMANCE)


def test_the_loss_of_performance_is_found_in_the_days_in_which_the_model_was_worse(
    judged: list[DriftEvent], demo: Ran
) -> None:
    """In the last ten days of April its AUC falls below 0.6, where it promises 0.67."""
    prepared, flights = demo.outcome.prepared, demo.outcome.prepared.flights
    days = (flights.days >= np.datetime64("2013-04-21")) & (flights.days <= np.datetime64("2013-04-30"))
    assert auc(prepared.training, prepared.trained.scores) > 0.65
    assert auc(flights[days], prepared.scores[days]) < 0.6
    event = joined(judged, BRIER)
    assert event.time is not None
    assert "2013-04-21" <= f"{event.time:%Y-%m-%d}" <= "2013-04-30"


def test_it_is_said_to_be_a_drift_of_data_and_of_performance_that_the_features_do_not_explain(
    judged: list[DriftEvent],
) -> None:
    diagnosis = joined(judged, BRIER).diagnosis
    assert diagnosis is not None
    assert diagnosis.drifts == (DriftKind.DATA, DriftKind.PERFORMANCE)
    assert diagnosis.loss is not None
    assert diagnosis.loss.realised > diagnosis.loss.reference
    assert "performs worse" in diagnosis.explanation
    assert "not explained by the features" in diagnosis.explanation


def test_the_worker_s_own_status_tells_realised_performance_beside_the_estimate_and_how_late_labels_are(
    demo: Ran,
) -> None:
    status, flights = demo.outcome.findings.status, demo.outcome.prepared.flights
    assert status is not None
    assert status.labels is not None
    assert status.labels.coverage == pytest.approx(flights.arrived.mean(), abs=0.01)
    lags = (flights.arrivals - flights.times)[flights.arrived]
    assert status.labels.lag_p50_s == pytest.approx(np.quantile(lags, 0.5), rel=0.05)
    assert status.labels.lag_p90_s == pytest.approx(np.quantile(lags, 0.9), rel=0.05)
    accuracy = next(each for each in status.performance if each.metric is Metric.ACCURACY)
    assert accuracy.value is not None
    assert accuracy.interval is not None
    assert accuracy.estimate is not None
    assert accuracy.estimate_interval is not None
    assert accuracy.interval[0] < accuracy.value < accuracy.interval[1]
    assert accuracy.estimate_interval[0] < accuracy.value < accuracy.estimate_interval[1]


def test_the_means_that_are_told_are_those_of_the_flights(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    for event in demo.outcome.findings.events:
        verdict = next(each for each in event.signals if each.signal == TEMPERATURE)
        assert verdict.expected_mean == pytest.approx(np.nanmean(prepared.training.column("temperature")), abs=0.1)
        assert verdict.actual_mean == pytest.approx(
            mean_temperature(prepared.flights, event.since, event.time), abs=3.0
        )


def test_retraining_is_asked_for_once_on_the_flights_since_the_onset(demo: Ran) -> None:
    (request,) = demo.outcome.findings.requests
    wanted, flights = request.training_range, demo.outcome.prepared.flights
    assert wanted.since is not None
    assert wanted.until is not None
    offsets = next(each for each in wanted.offsets if each.topic == "driftline.predictions")
    first, last = flights.times[offsets.from_offset], flights.times[offsets.to_offset - 1]
    assert last <= wanted.until.timestamp()
    assert abs(first - wanted.since.timestamp()) <= 86_400


def test_what_is_printed_is_what_was_found_and_how_the_model_did(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    assert "\x1b" not in demo.printed
    assert re.search(r"opened (minor|moderate|significant)  temperature \(mean 37\.\d+ → [45]\d", demo.printed)
    assert "retrain requested" in demo.printed
    april = next(by_month(prepared.flights, prepared.scores))
    assert re.search(
        rf"Apr +28,330 +54 +{april.late:.1%} +{april.predicted:.1%} +{april.auc:.2f} +{april.brier:.3f}", demo.printed
    )
    assert re.search(r"diagnosis +2013-0[45]-\d\d \d\d:\d\d  It performs worse; its inputs have changed", demo.printed)
    assert re.search(r"outcomes +[\d,]+ \(9\d% of the predictions\), half within 2\.[789] hours", demo.printed)
    assert "no drift in  origin, carrier" in demo.printed
