"""The total of one version in one partition: when it is published, and what may be committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.counting import MOST_GAPS, Counting
from detector.layout import Layout
from detector.rows import Rows
from detector.totals import RunningTotal
from schemas.model_spec import OffsetRange
from tests.support.data import frozen_of, numbers, rows_of, spec_of

DRAFT = spec_of(*numbers("x"))
X = DRAFT.signals[0]
SPEC = frozen_of(DRAFT, {X: [float(value) for value in range(200)]})
LAYOUT = Layout(SPEC)


def counting(every_rows: int | None = None, started_at: int = 0) -> Counting:
    return Counting(RunningTotal(LAYOUT, "predictions", 0, started_at=started_at), 5, every_rows)


def rows(offsets: list[int]) -> Rows:
    return rows_of(SPEC, {X: [float(offset) for offset in offsets]}, offsets=offsets)


def add(one: Counting, offsets: list[int], next_offset: int | None = None) -> int:
    end = offsets[-1] + 1 if next_offset is None else next_offset
    return one.add(rows(offsets), end, float)


def gap(start: int, stop: int) -> OffsetRange:
    return OffsetRange(topic="predictions", partition=0, from_offset=start, to_offset=stop)


def test_by_the_clock_a_total_is_published_when_it_has_changed() -> None:
    one = counting()
    assert one.take() == []
    add(one, [0, 1, 2], 10)
    (total,) = one.take()
    assert (total.rows, total.next_offset, total.generation) == (3, 10, 5)
    assert one.take() == []


def test_rows_that_were_counted_before_change_nothing() -> None:
    one = counting()
    add(one, [0, 1, 2])
    one.take()
    assert add(one, [0, 1, 2]) == 0
    assert one.take() == []


def test_by_the_clock_everything_taken_may_be_committed() -> None:
    one = counting()
    add(one, [0, 1, 2])
    assert one.committable(40) == 40


def test_by_rows_a_total_is_cut_at_exactly_every_k_rows() -> None:
    one = counting(every_rows=3)
    add(one, list(range(8)), 20)
    assert [(total.next_offset, total.rows) for total in one.take()] == [(3, 3), (6, 6)]


def test_by_rows_only_what_lies_before_the_last_cut_may_be_committed() -> None:
    one = counting(every_rows=3)
    assert one.committable(0) == 0
    add(one, [0, 1])
    assert one.committable(2) == 0
    add(one, [2], 9)
    assert one.committable(9) == 9
    add(one, [9])
    assert one.committable(10) == 3


def test_a_record_of_many_rows_is_never_cut_through() -> None:
    one = counting(every_rows=4)
    add(one, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    assert [(total.next_offset, total.rows) for total in one.take()] == [(2, 6), (4, 12)]


def test_the_time_of_a_cut_is_that_of_its_own_last_record() -> None:
    one = counting(every_rows=2)
    add(one, [10, 11, 12, 13])
    assert [total.appended_at.timestamp() for total in one.take() if total.appended_at] == [12.0, 14.0]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=40),
    st.integers(1, 9),
    st.lists(st.integers(1, 12), max_size=20),
    st.data(),
)
def test_cuts_do_not_depend_on_runs_or_restarts(
    sizes: list[int], every: int, lengths: list[int], data: st.DataObject
) -> None:
    """``sizes[i]`` rows in record i; runs of ``lengths`` records; after any run the work may be taken up anew."""
    offsets = [offset for offset, size in enumerate(sizes) for _ in range(size)]
    at_once = counting(every)
    add(at_once, offsets, len(sizes))
    expected = [(total.next_offset, total.rows) for total in at_once.take()]

    one, found, position = counting(every), [], 0
    while position < len(sizes):
        stop = min(len(sizes), position + (lengths.pop() if lengths else len(sizes)))
        add(one, [offset for offset in offsets if position <= offset < stop], stop)
        cuts, position = one.take(), stop
        found += cuts
        if cuts and data.draw(st.booleans(), label="restart"):
            position = one.committable(stop)
            one = Counting(RunningTotal.from_event(cuts[-1], LAYOUT), 6, every)
    assert [(total.next_offset, total.rows) for total in found] == expected


def test_offsets_that_were_gone_are_named_and_published() -> None:
    one = counting()
    one.leave_out(gap(5, 9))
    (total,) = one.take()
    assert total.uncounted == (gap(5, 9),)


def test_neighbouring_gaps_become_one_and_the_newest_are_kept() -> None:
    one = counting()
    one.leave_out(gap(5, 9))
    one.leave_out(gap(9, 12))
    assert one.total.uncounted == (gap(5, 12),)
    for start in range(20, 20 + 2 * MOST_GAPS, 2):
        one.leave_out(gap(start, start + 1))
    assert len(one.total.uncounted) == MOST_GAPS
    assert one.total.uncounted[-1] == gap(18 + 2 * MOST_GAPS, 19 + 2 * MOST_GAPS)


@pytest.mark.parametrize("every_rows", [None, 3])
def test_a_total_that_is_taken_up_has_nothing_to_publish(every_rows: int | None) -> None:
    before = counting()
    add(before, [0, 1, 2, 3])
    after = Counting(RunningTotal.from_event(before.take()[0], LAYOUT), 6, every_rows)
    assert after.take() == []
    assert after.committable(4) == 4
