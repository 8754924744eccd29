"""Running totals: (N, C), continued from anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from detector.layout import Layout
from detector.rows import INVALID, Rows
from detector.totals import RunningTotal
from schemas.codec import decode, encode
from schemas.model_spec import OffsetRange
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY, category, frozen_of, numbers, rows_of, spec_of

RNG = np.random.default_rng(6)
DRAFT = spec_of(*numbers("age"), category("plan"))
AGE, PLAN = DRAFT.signals
SPEC = frozen_of(DRAFT, {AGE: RNG.normal(40, 10, 500), PLAN: RNG.choice(["free", "pro"], 500).tolist()})
LAYOUT = Layout(SPEC)


def run(start: int, stop: int) -> Rows:
    """Rows of the records ``start`` to ``stop``: three to a record."""
    rng = np.random.default_rng(start)
    n = 3 * (stop - start)
    values = {AGE: rng.normal(42, 10, n), PLAN: rng.choice(["free", "pro", "team"], n).tolist()}
    offsets = np.repeat(np.arange(start, stop), 3)
    return rows_of(SPEC, values, offsets=offsets.tolist(), times=MONDAY + offsets)


def total(**start: int) -> RunningTotal:
    return RunningTotal(LAYOUT, "predictions", 3, **start)


def test_a_new_total_begins_where_it_is_told() -> None:
    begun = total(started_at=17)
    assert (begun.next_offset, begun.rows, begun.time) == (17, 0, None)
    assert begun.add(run(10, 20), 20) == 9  # records 17, 18 and 19


def test_rows_below_n_count_once() -> None:
    counted = total()
    assert counted.add(run(0, 10), 10) == 30
    assert counted.add(run(0, 10), 10) == 0
    assert counted.rows == 30


def test_a_run_that_overlaps_counts_only_what_is_new() -> None:
    whole, overlapping = run(0, 10), total()
    overlapping.add(whole.slice(0, 18), 6)
    assert overlapping.add(whole, 10) == 12
    expected = total()
    expected.add(whole, 10)
    assert overlapping.to_event() == expected.to_event()


def test_a_run_without_rows_of_the_model_moves_n_on() -> None:
    counted = total()
    counted.add(run(0, 2), 2)
    counted.add(run(0, 2).slice(0, 0), 50, appended_at=MONDAY)
    assert (counted.next_offset, counted.rows, counted.appended_at) == (50, 6, MONDAY)


def test_an_old_run_changes_nothing_at_all() -> None:
    counted = total()
    counted.add(run(0, 9), 9, appended_at=MONDAY + 9)
    before = counted.to_event()
    counted.add(run(2, 5), 5, appended_at=MONDAY + 5)
    assert counted.to_event() == before


def test_a_row_behind_its_run_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="offset 9 does not lie below 5"):
        total().add(run(0, 10), 5)


def test_the_time_is_the_latest_whatever_the_order_of_rows() -> None:
    counted = total()
    later, earlier = run(5, 6), run(6, 7)
    rows = Rows(earlier.source, earlier.offsets, later.times - 100, earlier.stages, earlier.columns)
    counted.add(later, 6)
    counted.add(rows, 7)
    assert counted.time == MONDAY + 5


def test_invalid_values_are_read_off_the_counts() -> None:
    counted = total()
    counted.add(rows_of(SPEC, {AGE: [1.0, np.inf, np.nan], PLAN: [INVALID, "free", None]}), 3)
    assert counted.invalid == counted.to_event().invalid == {"age": 1, "plan": 1}


def test_a_total_survives_its_event() -> None:
    counted = total(incarnation=2, started_at=4)
    counted.uncounted = (OffsetRange(topic="predictions", partition=3, from_offset=0, to_offset=4),)
    counted.add(run(4, 30), 30, appended_at=MONDAY + 31.25)
    event = counted.to_event(generation=7)
    read = RunningTotal.from_event(decode(ProfileTotal, encode(event)), LAYOUT)
    assert read == counted
    assert read.to_event(generation=7) == event


def test_an_event_says_whose_total_it_is_and_how_far_it_has_come() -> None:
    counted = total()
    counted.add(run(0, 4), 4)
    event = counted.to_event(generation=7)
    assert (event.model, event.version, event.spec_hash, event.generation) == ("m", "1", SPEC.hash, 7)
    assert (event.topic, event.partition, event.started_at, event.next_offset, event.rows) == (
        "predictions",
        3,
        0,
        4,
        12,
    )


def test_a_total_of_another_spec_is_not_continued() -> None:
    other = Layout(SPEC.model_copy(update={"owner": "someone else"}))
    with pytest.raises(ValueError, match="another spec of m 1"):
        RunningTotal.from_event(total().to_event(), other)
