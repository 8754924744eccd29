"""The onset of a change is the last place without evidence of it."""

from __future__ import annotations

from detector.onsets import LOW, Mark, Onsets
from tests.support.readings import mark, reading


def test_a_mark_moves_on_while_there_is_no_evidence_and_stays_when_it_rises() -> None:
    onsets = Onsets(["a"])
    for step, evidence in enumerate([0.0, LOW / 2, LOW, 9.0, 20.0], start=1):
        onsets.update([reading(0.3, evidence, name="a")], mark(100 * step))
    assert onsets.marks["a"] == mark(200)


def test_onsets_restored_from_their_state_are_the_same() -> None:
    onsets, successor = Onsets(["a", "b"]), Onsets(["a", "b"])
    onsets.update([reading(0.0, 0.0, name="a"), reading(0.0, 0.0, name="b")], mark(100, 5.0))
    onsets.update([reading(0.0, 9.0, name="a"), reading(0.0, 0.0, name="b")], mark(200, 6.0))
    successor.restore(onsets.state())
    assert successor.marks == onsets.marks == {"a": mark(100, 5.0), "b": mark(200, 6.0)}


def test_the_earliest_of_several_onsets_is_the_one_with_the_fewest_rows_behind_it() -> None:
    onsets = Onsets(["a", "b"])
    onsets.update([reading(0.0, 0.0, name="a"), reading(0.0, 0.0, name="b")], mark(100))
    onsets.update([reading(0.0, 9.0, name="a"), reading(0.0, 0.0, name="b")], mark(200))
    assert onsets.earliest(["a", "b"]) == mark(100)


def test_the_rows_since_a_mark_are_those_behind_it_in_each_partition() -> None:
    now = mark(25, partition=0).offsets + mark(7, partition=1).offsets + mark(10, partition=2).offsets
    before = Mark(None, mark(10, partition=0).offsets + mark(10, partition=2).offsets)
    ranges = before.ranges_until(now)
    assert [(each.partition, each.from_offset, each.to_offset) for each in ranges] == [(0, 10, 25), (1, 0, 7)]


def test_a_change_that_was_there_from_the_first_row_began_at_the_beginning() -> None:
    onsets = Onsets(["a"])
    onsets.update([reading(0.5, 20.0, name="a")], mark(32))
    assert onsets.earliest(["a"]).ranges_until(mark(32).offsets) == mark(32).offsets
