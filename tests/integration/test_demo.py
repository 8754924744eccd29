"""The demo: what it trains, sends and says is true of the flights."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pytest
from rich.console import Console

from agents.demo.flights import FEATURES, Flights, load
from agents.demo.model import BLOCKS, auc, rows_of
from agents.demo.player import encode_events
from agents.demo.run import Options, Outcome, run
from agents.demo.summary import by_month
from agents.demo.worker_process import PUBLISH_EVERY_ROWS
from detector.layout import Layout
from schemas import codec
from schemas.inbound import PredictionEvent
from schemas.outbound import Change, Tier

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAYS = 40
"""April, and a little of May: long enough for spring to be found."""
TEMPERATURE = "feature:temperature"


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
    for value, at, score in zip(encode_events(some, scores), some.times, scores, strict=True):
        event = codec.decode(PredictionEvent, value)
        assert event.time is not None
        assert event.time.timestamp() == at
        assert event.score == pytest.approx(score, abs=1e-6)
        assert tuple(event.features or ()) == FEATURES


# The model


def test_the_reference_is_made_of_answers_on_days_that_the_model_had_not_seen(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    unseen = auc(prepared.training, prepared.trained.scores)
    seen = auc(prepared.training, prepared.trained.model.score(prepared.training))
    assert 0.6 < unseen < seen - 0.05
    frozen = prepared.spec.reference.frozen
    assert frozen is not None
    layout = Layout(prepared.spec)
    counted = layout.count(rows_of(prepared.training, prepared.trained.scores))
    assert counted.encode() == frozen.profile
    assert BLOCKS > 1


# The findings


def test_everything_that_was_sent_is_judged_but_for_a_last_step_that_is_not_full(demo: Ran) -> None:
    sent, judged = demo.outcome.played.events, demo.outcome.findings.rows_judged
    assert sent == len(demo.outcome.prepared.flights)
    assert judged == sent - sent % PUBLISH_EVERY_ROWS


def test_spring_is_found_and_nothing_else(demo: Ran) -> None:
    events = demo.outcome.findings.events
    assert events[0].change is Change.OPENED
    assert events[-1].tier is Tier.SIGNIFICANT
    assert {verdict.signal for event in events for verdict in event.signals} == {TEMPERATURE}


def test_the_means_that_are_told_are_those_of_the_flights(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    for event in demo.outcome.findings.events:
        (verdict,) = event.signals
        assert verdict.expected_mean == pytest.approx(np.nanmean(prepared.training.column("temperature")), abs=0.1)
        assert verdict.actual_mean == pytest.approx(
            mean_temperature(prepared.flights, event.since, event.time), abs=2.0
        )


def test_retraining_is_asked_for_once_on_the_flights_since_the_onset(demo: Ran) -> None:
    (request,) = demo.outcome.findings.requests
    wanted, flights = request.training_range, demo.outcome.prepared.flights
    assert wanted.since is not None
    assert wanted.until is not None
    (offsets,) = wanted.offsets
    first, last = flights.times[offsets.from_offset], flights.times[offsets.to_offset - 1]
    assert last <= wanted.until.timestamp()
    assert abs(first - wanted.since.timestamp()) <= 86_400


def test_what_is_printed_is_what_was_found_and_what_the_outcomes_say(demo: Ran) -> None:
    prepared = demo.outcome.prepared
    assert "\x1b" not in demo.printed
    assert re.search(r"opened (minor|moderate|significant)  temperature \(mean 37\.\d+ → [45]\d", demo.printed)
    assert "retrain requested" in demo.printed
    april = next(by_month(prepared.flights, prepared.scores))
    assert re.search(rf"Apr +28,330 +54 +{april.late:.1%} +{april.predicted:.1%} +{april.auc:.2f}", demo.printed)
    assert "no drift in  origin, carrier" in demo.printed
