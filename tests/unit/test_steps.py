"""When a step closes: by rows, by event time, never by a clock."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from detector.steps import CREDIT, STUCK_CLOCK_ROWS, OpenStep, PaneCounts, StepClock, steps_in
from schemas.model_spec import StepSpec
from schemas.outbound import Pane

SPEC = StepSpec(min_rows=32, min_interval=timedelta(seconds=10), max_wait=timedelta(hours=1))


def pane(partition: int, start: int, stop: int, *, phase: int = 0, time: float | None = None) -> PaneCounts:
    rows = stop - start
    described = Pane(topic="predictions", partition=partition, from_offset=start, to_offset=stop, rows=rows)
    return PaneCounts(described, {phase: np.array([rows, rows], dtype=np.int64)}, time)


def spent(clock: StepClock, time: float) -> int:
    """How many full steps the clock allows at one moment of event time."""
    clock.advance(time)
    steps = 0
    while clock.closes(SPEC.min_rows):
        clock.restart()
        steps += 1
    return steps


def test_a_step_of_enough_rows_closes_at_once() -> None:
    clock = StepClock(SPEC)
    clock.advance(1_000.0)
    assert not clock.closes(31)
    assert clock.closes(32)


def test_a_step_with_few_rows_closes_after_the_longest_wait() -> None:
    clock = StepClock(SPEC)
    clock.advance(1_000.0)
    clock.advance(1_000.0 + 3_599.0)
    assert not clock.closes(5)
    clock.advance(1_000.0 + 3_600.0)
    assert clock.closes(5)


def test_a_step_without_rows_never_closes() -> None:
    clock = StepClock(SPEC)
    clock.advance(0.0)
    clock.advance(1e9)
    assert not clock.closes(0)


def test_the_credit_of_a_new_model_is_spent_and_then_earned_by_event_time() -> None:
    clock = StepClock(SPEC)
    assert spent(clock, 0.0) == CREDIT
    assert spent(clock, 9.0) == 0
    assert spent(clock, 10.0) == 1
    assert spent(clock, 45.0) == 3


def test_a_month_never_holds_more_steps_than_the_budget_counts_with() -> None:
    clock = StepClock(SPEC)
    hours = 30 * 24
    steps = sum(spent(clock, 3_600.0 * hour) for hour in range(hours + 1))
    assert steps <= steps_in(timedelta(days=30), SPEC)


def test_event_times_that_go_back_change_nothing() -> None:
    clock = StepClock(SPEC)
    clock.advance(5_000.0)
    before = clock.state()
    clock.advance(4_000.0)
    assert clock.state() == before


def test_rows_alone_close_steps_where_there_are_no_times() -> None:
    clock = StepClock(SPEC)
    clock.advance(None)
    for _ in range(1_000):
        assert clock.closes(32)
        clock.restart()


def test_a_producer_whose_clock_stands_still_is_judged_all_the_same() -> None:
    clock = StepClock(SPEC)
    assert spent(clock, 0.0) == CREDIT
    assert not clock.closes(STUCK_CLOCK_ROWS - 1)
    assert clock.closes(STUCK_CLOCK_ROWS)


def test_a_clock_restored_from_its_state_goes_on_the_same() -> None:
    clock = StepClock(SPEC)
    spent(clock, 100.0)
    clock.advance(125.0)
    successor = StepClock(SPEC)
    successor.restore(clock.state())
    assert [spent(successor, time) for time in (130.0, 150.0)] == [spent(clock, time) for time in (130.0, 150.0)]


def test_panes_of_one_partition_join_and_their_counts_add_up_by_phase() -> None:
    step = OpenStep()
    step.add(pane(0, 0, 10))
    step.add(pane(1, 5, 7))
    step.add(pane(0, 10, 30, phase=3))
    assert step.rows == 32
    assert [(p.partition, p.from_offset, p.to_offset, p.rows) for p in step.panes] == [(0, 0, 30, 30), (1, 5, 7, 2)]
    assert {phase: vector.tolist() for phase, vector in step.parts.items()} == {0: [12, 12], 3: [20, 20]}
