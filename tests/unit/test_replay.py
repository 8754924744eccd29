"""The last step of an event gives the same score and the same evidence when its rows are counted again."""

from __future__ import annotations

import numpy as np
import pytest

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.lineage import ELSEWHERE, SEGMENT, SURROGATE, TOO_MANY, part_of, seeds_of, with_part
from detector.ragged import Ragged
from detector.replay import CountedStep, replay_step, replay_steps
from detector.responses.cases import shortened
from detector.rows import Rows
from detector.totals import RunningTotal
from schemas import codec
from schemas.model_spec import ModelSpec, Seasonality
from schemas.outbound import DriftEvent, Family
from schemas.performance import Loss
from tests.support.data import MONDAY
from tests.support.faults import WARMTH, checked_model, in_some, totals_with, with_column
from tests.support.history import History
from tests.support.pairs import drawn, frozen_pairs, logistic, pair_rows, scored
from tests.support.segments import Traffic, broken_down
from tests.support.stream import drifting_totals, watched_model

EVERY = 50


def drifting(spec: ModelSpec) -> History:
    return History(spec).feed(*drifting_totals(spec, 1))


@pytest.fixture(scope="module")
def history() -> History:
    return drifting(watched_model())


def is_told_and_equal(history: History) -> bool:
    """Whether every event tells all of its signals, and all are recomputed as they were."""
    told = [[each.signal for each in event.lineage.evidence] for event in history.events]
    equal = [each.is_equal for event in history.events for each in history.replayed(event)]
    return told == [[each.signal for each in event.signals] for event in history.events] and equal == [True] * len(
        equal
    )


def test_every_event_is_equal_to_the_last_digit_when_its_last_step_is_counted_again(history: History) -> None:
    assert len(history.events) >= 2
    assert is_told_and_equal(history)


def test_the_evidence_told_is_that_of_the_signals_unrounded(history: History) -> None:
    for event in history.events:
        for told, verdict in zip(event.lineage.evidence, event.signals, strict=True):
            assert round(told.score, 6) == verdict.score
            assert round(told.after[max(verdict.tier.rank - 1, 0)], 3) == verdict.evidence


def test_evidence_before_the_first_alarm_is_what_the_status_before_it_showed() -> None:
    judge, shown = ModelJudge(watched_model()), 0.0
    totals = iter(drifting_totals(judge.spec, 1))
    while not (events := judge.fold(next(totals))):
        shown = next(each.evidence for each in judge.status()[0].signals if each.signal == "feature:x")
    assert round(events[0].lineage.evidence[0].before[0], 3) == shown > 0


def test_one_row_more_is_seen(history: History) -> None:
    event = history.events[0]
    (phase, vector), *_ = history.parts(event).items()
    more = vector.copy()
    more[Layout(history.spec).slices[0].start] += 1
    (first, *_) = replay_step(history.spec, event.lineage.evidence, {phase: more})
    assert first.is_equal is False


def test_a_difference_is_told_as_a_share(history: History) -> None:
    event = history.events[0]
    (told,) = event.lineage.evidence
    other = told.model_copy(update={"score": told.score * (1 + 1e-12)})
    (each,) = replay_step(history.spec, [other], history.parts(event))
    assert each.is_equal is False
    assert each.difference == pytest.approx(1e-12, rel=1e-3)
    assert history.replayed(event)[0].difference == 0


def test_a_judge_that_was_saved_and_restored_at_every_total_tells_the_same(history: History) -> None:
    spec, found = history.spec, []
    judge = ModelJudge(spec)
    for total in drifting_totals(spec, 1):
        judge = ModelJudge.restore(spec, judge.state())
        found += judge.fold(total)
    assert [codec.encode(event) for event in found] == [codec.encode(event) for event in history.events]


def labelled(spec: ModelSpec, rng: np.random.Generator, *, slope: float, rows: int = 3_000) -> History:
    """Predictions with their labels; beyond the middle, labels follow x with this slope."""
    x = rng.normal(size=rows) * 2
    labels = drawn(logistic(np.where(np.arange(rows) < rows // 2, x, slope * x)), rng)
    pairs = pair_rows(spec, {"x": x}, logistic(x), labels, times=MONDAY + 30.0 * np.arange(rows))
    history, layout = History(spec), Layout(spec)
    totals: list[tuple[RunningTotal, Rows]] = [
        (RunningTotal(layout, name, 0), of) for name, of in zip(("answers", "labels"), pairs, strict=True)
    ]
    for start in range(0, rows, EVERY):
        for total, of in totals:
            total.add(of.slice(start, start + EVERY), start + EVERY)
            history.feed(total.to_event())
    return history


def reference(spec: ModelSpec, rng: np.random.Generator, *, wrong: float = 1.0) -> ModelSpec:
    """The spec with a reference in which labels follow x with the slope ``wrong``."""
    x = rng.normal(size=6_000) * 2
    labels = drawn(logistic(wrong * x), rng)
    return frozen_pairs(spec, {"x": x}, logistic(x), labels, times=MONDAY + 30.0 * np.arange(6_000))


def test_losses_and_limits_of_labels_are_recomputed_in_every_phase_of_the_day() -> None:
    rng = np.random.default_rng(3)
    spec = scored(losses=[Loss.LOG_LOSS], limits={"accuracy": 0.7, "auc": 0.8}).model_copy(
        update={"seasonality": Seasonality.DAILY}
    )
    history = labelled(reference(spec, rng), rng, slope=-1.0)
    signals = {each.signal for event in history.events for each in event.lineage.evidence}
    assert {"performance:error", "performance:log_loss", "limit:accuracy", "limit:auc"} <= signals
    assert is_told_and_equal(history)


def test_the_loss_of_a_model_that_learned_is_recomputed_against_what_is_expected_since() -> None:
    rng = np.random.default_rng(4)
    spec = reference(scored().model_copy(update={"learning": "continuous"}), rng, wrong=0.2)
    history = labelled(spec, rng, slope=-1.0, rows=5_000)
    assert "performance:error" in {each.signal for event in history.events for each in event.lineage.evidence}
    assert is_told_and_equal(history)


def counted_steps(history: History, event: DriftEvent) -> list[CountedStep]:
    """All steps up to the event's last, as the history's events name them, and their rows."""
    named = {step.number: step for each in history.events for step in each.lineage.steps}
    steps = [named[number] for number in range(1, event.lineage.steps[-1].number + 1)]
    return [CountedStep(step, [history.pane(pane) for pane in step.panes]) for step in steps]


def test_with_the_cuts_of_all_steps_the_evidence_is_recomputed_from_nothing() -> None:
    history = History(watched_model()).feed(*drifting_totals(watched_model(), 1, quiet=20, drifted=12))
    for event in history.events:
        told = event.lineage.evidence
        replayed = replay_steps(history.spec, event.stage, told, counted_steps(history, event))
        assert [each.is_equal for each in replayed] == [True] * len(told)


def test_a_step_left_out_on_the_way_is_seen() -> None:
    history = History(watched_model()).feed(*drifting_totals(watched_model(), 1, quiet=20, drifted=12))
    event = history.events[-1]
    steps = counted_steps(history, event)
    (first, *_) = replay_steps(history.spec, event.stage, event.lineage.evidence, steps[:5] + steps[6:])
    assert first.is_equal is False


def test_faults_of_the_data_are_recomputed_too() -> None:
    spec = checked_model()
    history = History(spec).feed(*totals_with(spec, half_missing, sound=900, faulty=320))
    faults = [event for event in history.events if event.family is Family.QUALITY]
    assert "quality:missing:warmth" in {each.signal for event in faults for each in event.lineage.evidence}
    assert is_told_and_equal(history)


def half_missing(rows: Rows) -> Rows:
    warmth = rows.columns[WARMTH]
    assert isinstance(warmth, np.ndarray)
    return with_column(rows, WARMTH, in_some(warmth, 0.5, np.nan))


# ------------------------------------------------------------------------------------------- what else is named


def test_the_reference_is_named_by_the_hash_of_its_content(history: History) -> None:
    frozen = history.spec.reference.frozen
    assert frozen is not None
    assert {event.lineage.reference_hash for event in history.events} == {frozen.hash}
    assert frozen.model_copy(update={"rows": frozen.rows + 1}).hash != frozen.hash


def test_seeds_of_detectors_that_draw_are_named() -> None:
    spec = watched_model(detectors={"feature:x": {"name": "kswin"}, "feature:y": {"name": "adwin"}})
    assert seeds_of(spec) == {"feature:x/kswin": 1}


def test_what_is_kept_of_an_event_for_a_request_has_the_numbers_and_not_the_states(history: History) -> None:
    kept = shortened(history.events[0]).lineage
    assert kept.steps == history.events[0].lineage.steps[-1:]
    for short, told in zip(kept.evidence, history.events[0].lineage.evidence, strict=True):
        assert (short.before, short.after, short.score) == (told.before, told.after, told.score)
        assert (short.state, short.not_told) == (None, ELSEWHERE)


# --------------------------------------------------------------------------------------- what cannot be recomputed


def test_the_alarm_of_a_detector_of_rivers_is_no_matter_of_one_step() -> None:
    history = drifting(watched_model(detectors={"feature:x": {"name": "adwin"}}))
    told = {each.signal: each for event in history.events for each in event.lineage.evidence}["feature:x"]
    assert told.state is None
    assert "River's adwin" in (told.not_told or "")


def test_a_surrogate_is_no_matter_of_one_step() -> None:
    history = drifting(watched_model(surrogates={}))
    event = next(each for each in history.events if "multivariate" in {told.signal for told in each.lineage.evidence})
    replayed = {each.told.signal: each for each in history.replayed(event)}
    assert (replayed["multivariate"].is_equal, replayed["multivariate"].why_not) == (None, SURROGATE)
    assert replayed["feature:x"].is_equal


def test_a_segment_is_no_matter_of_one_step_and_recomputed_through_all_of_them() -> None:
    spec, traffic = broken_down(), Traffic(1)
    history, total = History(spec), RunningTotal(Layout(spec), "predictions", 0)
    for number in range(160):
        total.add(traffic.rows(spec, 32, shifted="US" if number >= 100 else None), traffic.offset)
        history.feed(total.to_event())
    event = next(event for event in history.events if any(told.segment for told in event.lineage.evidence))
    (told,) = [each for each in event.lineage.evidence if each.segment]
    assert (told.name, told.not_told) == ("feature:y in country=US", SEGMENT)

    last = event.lineage.steps[-1]
    panes = [last.panes[0].model_copy(update={"from_offset": at - 32, "to_offset": at})
             for at in range(32, last.panes[0].to_offset + 1, 32)]  # fmt: skip
    steps = [CountedStep(last.model_copy(update={"panes": (pane,)}), [history.pane(pane)]) for pane in panes]
    assert [each.is_equal for each in replay_steps(spec, event.stage, event.lineage.evidence, steps)] == [True]


def test_of_an_incident_with_many_signals_the_first_ones_are_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.lineage.MOST_STATE_CHARACTERS", 100)
    told = drifting(watched_model()).events[0].lineage.evidence[0]
    assert (told.state, told.not_told) == (None, TOO_MANY)


def test_a_damaged_state_is_said_and_nothing_is_recomputed(history: History) -> None:
    told = history.events[0].lineage.evidence[0]
    text = told.state or ""
    for damaged in ("no base64!", "AAAA", text[: len(text) // 8 * 4]):
        (each,) = replay_step(history.spec, [told.model_copy(update={"state": damaged})], {})
        assert each.is_equal is None
        assert "the event" in (each.why_not or "")


def test_parts_of_a_state_put_together_are_the_state() -> None:
    layout, rng = Ragged([3, 2, 5]), np.random.default_rng(0)
    shapes = {"bins": (4, 10), "signals": (3, 12, 3), "both": (2, 16)}
    state = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    merged = {name: np.zeros_like(values) for name, values in state.items()}
    for index in range(3):
        merged = with_part(merged, layout, index, part_of(state, layout, index))
    for name, values in state.items():
        np.testing.assert_array_equal(merged[name], values)


def test_a_part_of_another_engine_is_refused() -> None:
    layout = Ragged([3, 2])
    with pytest.raises(ValueError, match="another version"):
        with_part({"bins": np.zeros(5)}, layout, 0, {})
