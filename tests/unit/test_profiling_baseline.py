"""Forwarding the first rows: each once, whole records, in pieces that fit."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.baseline import Collecting
from detector.baseline import BaselineCollector
from detector.rows import Rows
from schemas.model_spec import ReferenceSpec
from schemas.profiles import BaselineRows
from tests.support.data import MONDAY, category, numbers, rows_of, spec_of

SPEC = spec_of(*numbers("x"), category("plan"), reference=ReferenceSpec(rows=100))
X, PLAN = SPEC.signals


def collecting(**limits: int) -> Collecting:
    return Collecting(SPEC, SPEC.hash, "predictions", 3, **limits)


def rows(offsets: list[int]) -> Rows:
    values = {X: [float(offset) for offset in offsets], PLAN: [str(offset % 7) for offset in offsets]}
    return rows_of(SPEC, values, offsets=offsets, times=[MONDAY + offset for offset in offsets])


def offsets_in(events: list[BaselineRows]) -> list[int]:
    return [offset for event in events for offset in event.offsets]


def test_rows_are_forwarded_with_their_offsets_times_and_values() -> None:
    one = collecting()
    assert one.add(rows([4, 5, 7]), 9) == 3
    (event,) = one.take()
    assert (event.from_offset, event.next_offset, event.offsets) == (4, 9, (4, 5, 7))
    assert event.times == (MONDAY + 4, MONDAY + 5, MONDAY + 7)
    assert event.columns == {X: (4.0, 5.0, 7.0), PLAN: ("4", "5", "0")}
    assert one.take() == []


def test_rows_that_come_again_are_not_forwarded_again() -> None:
    one = collecting()
    one.add(rows(list(range(10))), 10)
    assert one.add(rows(list(range(5, 15))), 15) == 5
    assert offsets_in(one.take()) == list(range(15))


def test_no_more_is_forwarded_than_the_reference_needs_and_the_last_record_is_whole() -> None:
    one = collecting()
    one.add(rows([offset // 3 for offset in range(300)]), 100)
    events = one.take()
    assert one.is_full
    assert offsets_in(events) == [offset // 3 for offset in range(102)]
    assert events[-1].next_offset == 34
    assert one.add(rows([200]), 201) == 0


def test_forwarding_goes_on_behind_what_an_earlier_owner_forwarded() -> None:
    before, after = collecting(), collecting()
    before.add(rows(list(range(10, 40))), 50)
    for event in before.take():
        after.resume(event)
    assert (after.first_offset, after.next_offset, after.rows) == (10, 50, 30)
    after.add(rows(list(range(30, 60))), 60)
    assert offsets_in(after.take()) == list(range(50, 60))


def test_an_owner_that_finds_enough_forwarded_forwards_nothing() -> None:
    before, after = collecting(), collecting()
    before.add(rows(list(range(100))), 100)
    for event in before.take():
        after.resume(event)
    assert after.is_full


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(400, 3_000))
def test_pieces_hold_whole_records_and_leave_nothing_out(sizes: list[int], limit: int) -> None:
    one = collecting(chunk_bytes=limit)
    offsets = [record for record, size in enumerate(sizes) for _ in range(size)]
    one.add(rows(offsets), len(sizes))
    events = one.take()
    assert offsets_in(events) == offsets[: one.rows]
    for before, after in pairwise(events):
        assert before.offsets[-1] < before.next_offset <= after.from_offset == after.offsets[0]
    for event in events:
        assert len(event.model_dump_json()) <= limit or len(set(event.offsets)) == 1


def test_a_record_too_large_for_the_topic_is_reported_and_the_others_are_forwarded() -> None:
    one = collecting(chunk_bytes=700, largest_bytes=1_000)
    one.add(rows([1] + [2] * 50 + [3]), 4)
    with capture_logs() as lines:
        events = one.take()
    assert offsets_in(events) == [1, 3]
    assert [line["record"] for line in lines] == ["predictions/3/2"]


def test_the_collector_takes_what_is_forwarded_and_ends_where_counting_begins() -> None:
    one, collector = collecting(), BaselineCollector(SPEC)
    for start in range(0, 120, 30):
        one.add(rows(list(range(start, start + 30))), start + 30)
        for event in one.take():
            collector.add(event)
    assert collector.complete
    (cut,) = collector.freeze().reference.frozen.offsets  # type: ignore[union-attr]
    assert (cut.from_offset, cut.to_offset) == (0, 100)
