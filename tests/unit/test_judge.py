"""A judge folds running totals: each row counts once, whatever is repeated, lost, compacted or late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.rows import Source
from detector.state import StateError
from detector.totals import RunningTotal
from schemas.model_spec import Stage
from schemas.outbound import Change, ModelState
from tests.support.data import rows_of
from tests.support.outcomes import labelled
from tests.support.stream import STEP, Stream, drifting_totals, judged, totals, watched_model

SPEC = watched_model()


def test_a_total_that_comes_twice_is_folded_once() -> None:
    published = drifting_totals(SPEC, seed=1)
    repeated = [total for each in published for total in (each, each)]
    once, twice = ModelJudge(SPEC), ModelJudge(SPEC)
    assert judged(once, published) == judged(twice, repeated)
    assert once.state() == twice.state()


def test_a_late_total_of_a_zombie_changes_nothing() -> None:
    published = drifting_totals(SPEC, seed=1)
    judge = ModelJudge(SPEC)
    judged(judge, published)
    before = judge.state()
    assert judged(judge, published[:50]) == []
    assert judge.state() == before


def test_a_total_that_was_lost_is_contained_in_the_next() -> None:
    published = drifting_totals(SPEC, seed=1)
    whole, gappy = ModelJudge(SPEC), ModelJudge(SPEC)
    judged(whole, published)
    judged(gappy, [*published[:-1:3], published[-1]])
    assert gappy.status()[0].rows == whole.status()[0].rows == STEP * len(published)


def test_a_total_of_another_spec_is_ignored() -> None:
    judge = ModelJudge(SPEC)
    other = drifting_totals(watched_model(1_000), seed=1)
    assert judged(judge, other) == []
    assert judge.status()[0].rows == 0


def test_a_topic_that_was_made_anew_is_counted_from_its_beginning() -> None:
    judge = ModelJudge(SPEC)
    judged(judge, list(totals(SPEC, Stream(1), 10)))
    anew = RunningTotal(Layout(SPEC), "predictions", 0, incarnation=1)
    judged(judge, list(totals(SPEC, Stream(2), 5, total=anew)))
    assert judge.status()[0].rows == 15 * STEP


def test_partitions_add_up_to_the_same_rows() -> None:
    judge = ModelJudge(SPEC)
    for partition in range(3):
        stream = Stream(partition, partition)
        running = RunningTotal(Layout(SPEC), "predictions", partition)
        judged(judge, list(totals(SPEC, stream, 4, total=running)))
    status = judge.status()[0]
    assert status.rows == 12 * STEP
    assert [(each.partition, each.from_offset, each.to_offset) for each in status.offsets] == [
        (0, 0, 128),
        (1, 0, 128),
        (2, 0, 128),
    ]


def test_each_stage_is_judged_by_itself() -> None:
    judge, running, stream = ModelJudge(SPEC), RunningTotal(Layout(SPEC), "predictions", 0), Stream(1)
    events = []
    for step in range(100):
        running.add(stream.rows(STEP), stream.offset)
        running.add(stream.rows(STEP, shift=2.0 if step >= 60 else 0.0, stage=Stage.SHADOW), stream.offset)
        events += judge.fold(running.to_event())
    assert {event.stage for event in events} == {Stage.SHADOW}
    assert {status.stage: status.rows for status in judge.status()} == {
        Stage.PRODUCTION: 100 * STEP,
        Stage.SHADOW: 100 * STEP,
    }


@pytest.mark.parametrize("stopped_after", [1, 30, 61, 62, 75, 99])
def test_a_judge_restored_at_any_point_raises_the_same_events_with_the_same_ids(stopped_after: int) -> None:
    published = drifting_totals(SPEC, seed=1)
    whole, first = ModelJudge(SPEC), ModelJudge(SPEC)
    expected = judged(whole, published)
    events = judged(first, published[:stopped_after])
    second = ModelJudge.restore(SPEC, first.state())
    assert events + judged(second, published[stopped_after:]) == expected
    assert second.state() == whole.state()
    assert expected[0].change is Change.OPENED


def test_a_decision_taken_again_after_a_crash_carries_the_same_ids() -> None:
    published = drifting_totals(SPEC, seed=1)
    judge = ModelJudge(SPEC)
    judged(judge, published[:55])
    saved = judge.state()
    lost = judged(judge, published[55:])
    again = judged(ModelJudge.restore(SPEC, saved), published[50:])
    assert lost
    assert [event.id for event in again] == [event.id for event in lost]


def test_a_state_of_another_spec_is_refused() -> None:
    with pytest.raises(StateError, match="another spec"):
        ModelJudge.restore(watched_model(1_000), ModelJudge(SPEC).state())


def test_the_state_does_not_grow_with_the_stream() -> None:
    judge, stream = ModelJudge(SPEC), Stream(1)
    running = RunningTotal(Layout(SPEC), "predictions", 0)
    sizes = []
    for _ in range(4):
        judged(judge, list(totals(SPEC, stream, 100, total=running)))
        sizes.append(len(judge.state()))
    assert max(sizes[1:]) < 1.2 * sizes[0]


def test_a_version_that_has_seen_nothing_is_watched_all_the_same() -> None:
    (status,) = ModelJudge(SPEC).status()
    assert (status.state, status.rows, status.steps) == (ModelState.WATCHING, 0, 0)
    assert [signal.signal for signal in status.signals] == list(SPEC.signals)


def test_values_of_the_wrong_type_show_in_the_status() -> None:
    judge, running, stream = ModelJudge(SPEC), RunningTotal(Layout(SPEC), "predictions", 0), Stream(1)
    rows = stream.rows(STEP)
    assert isinstance(rows.columns[1], np.ndarray)
    rows.columns[1][:5] = np.inf
    running.add(rows, stream.offset)
    judge.fold(running.to_event())
    assert judge.status()[0].invalid == {"y": 5}


def test_a_status_tells_how_many_labels_are_known_and_how_late_they_came() -> None:
    spec = labelled(sample=0.5)
    layout, judge = Layout(spec), ModelJudge(spec)
    answered = rows_of(spec, {"feature:x": [1.0] * 100, "prediction": [0.2] * 100})
    known = {"label": ["0"] * 20, "performance:error": ["false"] * 20}
    lags = {"lags": np.repeat([60.0, 7_200.0], 10), "joined": True}
    late = replace(rows_of(spec, known, source=Source.OUTCOMES), **lags)  # type: ignore[arg-type]
    for topic, rows in (("predictions", answered), ("joins", late)):
        total = RunningTotal(layout, topic, 0)
        total.add(rows, len(rows))
        judge.fold(total.to_event())
    (status,) = judge.status()
    assert status.labels is not None
    assert (status.labels.rows, status.labels.coverage) == (20, 0.4)
    assert status.labels.lag_p50_s == pytest.approx(60.0, rel=0.2)
    assert status.labels.lag_p90_s == pytest.approx(7_200.0, rel=0.2)


def test_a_status_says_nothing_of_labels_where_none_are_read() -> None:
    assert ModelJudge(SPEC).status()[0].labels is None
