"""What a soak makes of what it has seen, and what it feeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from agents.settings import Settings
from bench.events import Shape
from bench.soak import ASKED_GROWTH, Point, summary
from bench.soak_stream import Load, Stream

LOAD = Load(Shape(features=2, models=3), rate=100.0, pending=600, minutes=30.0)


def points(rss_mb: Callable[[float], float]) -> list[Point]:
    return [
        Point(minute, rss_mb(minute), 50, 8, 0.0, None, 0.0, 0.0, 0.0) for minute in (tick / 12 for tick in range(361))
    ]


def test_memory_that_swings_and_comes_back_has_not_grown() -> None:
    result = summary(LOAD, points(lambda minute: 200.0 + 48.0 * (minute / 5.0 % 1.0)))
    assert abs(result["growth"]) < ASKED_GROWTH


def test_a_leak_below_the_swing_is_seen() -> None:
    result = summary(LOAD, points(lambda minute: 200.0 + 48.0 * (minute / 5.0 % 1.0) + minute / 3.0))
    assert result["growth"] > ASKED_GROWTH


def test_what_happens_before_it_is_settled_does_not_count() -> None:
    result = summary(LOAD, points(lambda minute: 200.0 if minute >= 5.0 else 100.0 + 20.0 * minute))
    assert result["growth"] == 0.0
    assert result["rss_mb_least"] == 200.0


def test_each_model_drifts_and_recovers_at_times_of_its_own() -> None:
    stream, seconds = Stream(Settings(), LOAD, lambda: 0), range(0, 300, 5)
    moved = [
        [stream._is_moved(LOAD.pending + int(second * LOAD.rate) // 3 * 3 + model) for second in seconds]
        for model in range(3)
    ]
    assert not any(model[0] for model in moved)
    for model in moved:
        changes = sum(a != b for a, b in pairwise(model))
        assert changes >= 3
    assert moved[0] != moved[1] != moved[2]


@pytest.mark.parametrize("number", [0, 1, 599])
def test_a_label_comes_under_the_id_of_its_prediction_while_that_still_waits(number: int) -> None:
    stream = Stream(Settings(), LOAD, lambda: 0)
    prediction = json.loads(stream._prediction(number))
    label = json.loads(stream._label(number, number + LOAD.pending))
    assert (label["model"], label["prediction_id"]) == (prediction["model"], prediction["prediction_id"])
    (wait,) = {spec.outcomes.wait.total_seconds() for spec in LOAD.specs() if spec.outcomes is not None}
    assert LOAD.lag_s < wait
