"""What decoding makes of outcomes: rows where they bring their prediction, labels to be joined where they do not."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from agents.formats import DecodedRun, RunDecoder
from agents.joins.forwarding import Forward
from detector.outcomes import outcome_columns
from detector.rows import INVALID, STAGES, Rows, Source
from schemas.inbound import OutcomeBatch, OutcomeEvent
from schemas.model_spec import (
    FeatureSpec,
    FeatureType,
    ModelSpec,
    OutcomeSpec,
    Output,
    PredictionSpec,
    Stage,
    performance_signal,
)
from tests.support.data import frozen_of, numbers, spec_of
from tests.support.decoding import APPENDED, Limits, details, reasons, record, run_of
from tests.support.joining import Known

FEATURES = (*numbers("age"), FeatureSpec(name="country", type=FeatureType.CATEGORY))
NOON = "2024-05-01T12:00:00Z"
LATER = "2024-05-01T13:00:00Z"


def frozen(spec: ModelSpec) -> ModelSpec:
    values: dict[str, Any] = {"feature:age": range(200), "feature:country": ["DE", "FR"] * 100}
    values["prediction"] = np.linspace(0, 1, 200)
    regression = spec.task == "regression"
    values["label"] = np.linspace(0, 1, 200) if regression else ["0", "1"] * 100
    assert spec.loss is not None
    values[performance_signal(spec.loss)] = np.linspace(0, 1, 200) if regression else ["false", "true"] * 100
    return frozen_of(spec, values)


SCORED = frozen(spec_of(*FEATURES, prediction=PredictionSpec(output=Output.SCORE), outcomes=OutcomeSpec()))
REGRESSION = frozen(
    spec_of(*FEATURES, task="regression", prediction=PredictionSpec(output=Output.NUMBER), outcomes=OutcomeSpec())
)


def decode(*values: Any, spec: ModelSpec = SCORED, source: Source = Source.OUTCOMES) -> DecodedRun:
    known = Known(spec)
    return RunDecoder(known.lookup, Limits(), known.versions).decode(run_of(*values), source)


def label(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prediction_id": "p1", "label": "1", "time": NOON} | fields


def complete(**fields: Any) -> dict[str, Any]:
    return {
        "model": "m", "version": "1", "label": "1", "score": 0.75, "time": LATER, "prediction_time": NOON,
        "features": {"age": 40.0, "country": "DE"},
    } | fields  # fmt: skip


def forwarded(*values: Any, **kind: Any) -> Forward:
    decoded = decode(*values, **kind)
    assert not decoded.letters, details(decoded.letters)
    (forward,) = decoded.forwards
    return forward


def rows(*values: Any, **kind: Any) -> Rows:
    decoded = decode(*values, **kind)
    assert not decoded.letters, details(decoded.letters)
    assert not decoded.forwards
    ((_, found),) = decoded.rows
    return found


# ------------------------------------------------------------------------------------------- labels to be joined


def test_a_label_without_its_prediction_is_forwarded() -> None:
    forward = forwarded(label(), label(prediction_id="p2", label=0))
    assert (forward.model, forward.version, forward.ids, forward.labels) == ("m", "", ["p1", "p2"], ["1", 0])
    assert forward.times.tolist() == [APPENDED, APPENDED]


def test_labels_of_a_version_and_of_none_are_told_apart() -> None:
    decoded = decode(label(), label(version="1"))
    assert [forward.version for forward in decoded.forwards] == ["", "1"]


def test_an_answer_without_a_version_does_not_count_and_the_join_finds_the_prediction() -> None:
    assert forwarded(label(score=0.9)).ids == ["p1"]


def test_a_label_without_a_time_has_that_of_its_record_or_its_cloudevent() -> None:
    bare = {name: value for name, value in label().items() if name != "time"}
    in_header = record(bare, 100, headers=[("ce_time", LATER.encode())])
    structured = {"specversion": "1.0", "time": LATER, "data": bare}
    encoded = {"specversion": "1.0", "time": LATER, "data_base64": base64.b64encode(json.dumps(bare).encode()).decode()}
    assert forwarded(bare, in_header, structured, encoded).times.tolist() == [
        APPENDED, APPENDED + 3_600, APPENDED + 3_600, APPENDED + 3_600
    ]  # fmt: skip


def test_a_batch_of_labels_is_as_many_labels_and_nulls_say_nothing() -> None:
    batch = label(rows=3, prediction_id=["a", "b", "c"], label=["1", None, "0"], time=[NOON, NOON, LATER])
    forward = forwarded(batch, label())
    assert (forward.ids, forward.labels) == (["a", "c", "p1"], ["1", "0", "1"])
    assert forward.times.tolist() == [APPENDED, APPENDED + 3_600, APPENDED]


def test_an_id_that_is_a_whole_number_stands_for_its_digits_on_both_sides() -> None:
    answer = {"model": "m", "version": "1", "score": 0.5, "prediction_id": 17}
    assert forwarded(label(prediction_id=17)).ids == ["17"]
    assert decode(answer, source=Source.PREDICTIONS).forwards[0].ids == ["17"]


def test_labels_of_a_model_that_nobody_registered_are_counted() -> None:
    decoded = decode(label(model="other"), label(model="other", version="2", rows=2, label=["1"] * 2))
    assert decoded.unregistered == {("other", "(any)"): 1, ("other", "2"): 2}


def test_labels_of_a_model_whose_labels_are_not_read_are_passed_over() -> None:
    decoded = decode(label(), complete(), spec=spec_of(*FEATURES, prediction=PredictionSpec(output=Output.SCORE)))
    assert not decoded.letters
    assert not decoded.forwards


@pytest.mark.parametrize(
    ("event", "reason", "says"),
    [
        (label(prediction_id=None), "invalid_event", "needs `prediction_id`, or the prediction itself"),
        (label(prediction_id=""), "invalid_event", "`prediction_id` '' is none"),
        (label(prediction_id=["p"]), "invalid_event", "write it as a string"),
        (label(label=None), "invalid_event", "needs `label`"),
        (label(time="noon"), "invalid_time", "'noon' is no time"),
        (label(time="2024-05-03T12:00:00Z"), "invalid_time", "ahead of its record's timestamp"),
        (label(rows=2, prediction_id=["a"], label=["1", "0"]), "invalid_event", "must have 2 entries"),
        (label(model=3), "invalid_event", "`model` is a number"),
        (complete(label=None), "invalid_event", "needs `label`"),
        (complete(version=None), "invalid_event", "needs `prediction_id`, or the prediction itself"),
        (complete(prediction_time="noon"), "invalid_time", "'noon' is no time"),
        (complete(prediction_time="2031-05-03T12:00:00Z"), "invalid_time", "ahead of its record's timestamp"),
        (complete(rows=2, label=["1", "0"], score=[0.5], features=None), "invalid_event", "`score` has 1 entries"),
        (b"", "empty", "no value"),
        (b"{", "invalid_json", "not JSON"),
    ],
)
def test_what_says_nothing_becomes_a_dead_letter_and_its_neighbours_are_forwarded(
    event: Any, reason: str, says: str
) -> None:
    decoded = decode(label(), event, label())
    assert reasons(decoded) == {101: reason}
    assert says in decoded.letters[0].detail
    assert sum(map(len, decoded.forwards)) == 2


# -------------------------------------------------------------------------- outcomes that bring their prediction


def test_an_outcome_that_brings_its_prediction_becomes_a_row_with_the_rest_as_context() -> None:
    found = rows(complete(stage="shadow"), complete(label="0"))
    assert found.source is Source.OUTCOMES
    assert found.columns[:5] == (None, None, None, ["1", "0"], ["false", "true"])
    assert found.context is not None
    age, country, score, *others = found.context
    assert isinstance(age, np.ndarray)
    assert isinstance(score, np.ndarray)
    assert (age.tolist(), country, score.tolist()) == ([40.0, 40.0], ["DE", "DE"], [0.75, 0.75])
    assert set(others) == {None}
    assert found.times.tolist() == [APPENDED, APPENDED]
    assert found.lags is not None
    assert found.lags.tolist() == [3_600.0, 3_600.0]
    assert [STAGES[stage] for stage in found.stages] == [Stage.SHADOW, Stage.PRODUCTION]
    assert not found.joined


def test_without_the_time_of_the_prediction_a_row_has_that_of_its_label_and_no_lag() -> None:
    found = rows(complete(prediction_time=None))
    assert found.times.tolist() == [APPENDED + 3_600]
    assert found.lags is not None
    assert np.isnan(found.lags).all()


def test_columns_give_the_rows_that_single_events_give() -> None:
    events = [complete(score=score, label=label) for score, label in ((0.1, "0"), (0.9, "0"), (0.4, "1"))]
    batch = complete(
        rows=4, score=[0.1, 0.9, 0.5, 0.4], label=["0", "0", None, "1"],
        features={"age": [40.0] * 4, "country": ["DE"] * 4},
    )  # fmt: skip
    one, many = rows(*events), rows(batch)
    assert many.columns == one.columns
    assert len(many) == 3
    assert many.context is not None
    assert one.context is not None
    assert many.context[2].tolist() == one.context[2].tolist()  # type: ignore[union-attr]


def test_the_class_of_an_event_comes_before_its_score_and_neighbours_do_not_matter() -> None:
    named = complete(prediction="0", label="1", score=0.9)
    assert rows(named).columns[4] == ["true"]
    assert rows(named, complete(), named).columns[4] == ["true", "false", "true"]


def test_the_loss_of_a_regression_is_read_from_its_number() -> None:
    found = rows(complete(prediction=3.0, label=1.5), complete(prediction=3.0, label="much"), spec=REGRESSION)
    labels, losses = found.columns[3:5]
    assert isinstance(labels, np.ndarray)
    assert isinstance(losses, np.ndarray)
    assert labels.tolist() == [1.5, np.inf]
    assert losses.tolist() == [1.5, np.inf]


def test_a_label_that_is_no_class_is_an_invalid_value() -> None:
    assert rows(complete(label={"a": 1})).columns[3] == [INVALID]


# ------------------------------------------------------------------------------------ predictions to be joined


def answer(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "version": "1", "prediction_id": "p1", "time": NOON, "score": 0.75,
            "features": {"age": 40.0, "country": "DE"}} | fields  # fmt: skip


def test_a_prediction_with_an_id_is_counted_and_forwarded() -> None:
    decoded = decode(answer(), answer(prediction_id=None), answer(prediction_id="p3"), source=Source.PREDICTIONS)
    ((_, counted),) = decoded.rows
    (forward,) = decoded.forwards
    assert len(counted) == 3
    assert set(counted.columns[3:]) == {None}
    assert (forward.ids, forward.version, forward.labels) == (["p1", "p3"], "1", None)
    assert isinstance(forward.watched, np.ndarray)
    assert forward.watched.tolist() == [0.75, 0.75]
    assert forward.features[1] == ["DE", "DE"]


def test_predictions_in_columns_are_forwarded_as_single_ones_are() -> None:
    batch = answer(rows=2, prediction_id=["a", "b"], score=[0.1, 0.2], features={"age": [1.0, 2.0]})
    (forward,) = decode(batch, source=Source.PREDICTIONS).forwards
    assert forward.ids == ["a", "b"]


def test_ids_in_a_column_of_another_length_make_a_dead_letter() -> None:
    batch = answer(rows=2, prediction_id=["a"], score=[0.1, 0.2], features=None)
    assert "`prediction_id` has 1 entries" in decode(batch, source=Source.PREDICTIONS).letters[0].detail


def test_predictions_of_a_model_without_outcomes_are_not_forwarded() -> None:
    spec = spec_of(*FEATURES, prediction=PredictionSpec(output=Output.SCORE))
    assert not decode(answer(), spec=spec, source=Source.PREDICTIONS).forwards


# ------------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize("fields", [{}, {"label": 3}, {"label": 1.5}, {"label": True}, {"version": "1", "time": None}])
def test_what_the_contract_allows_is_read(fields: dict[str, Any]) -> None:
    assert OutcomeEvent.model_validate(label(**fields)).label == label(**fields)["label"]
    assert len(forwarded(label(**fields))) == 1


def test_the_contract_refuses_outcomes_that_neither_find_nor_bring_their_prediction() -> None:
    with pytest.raises(ValueError, match="needs `prediction_id`, or the prediction itself"):
        OutcomeEvent.model_validate(label(prediction_id=None))
    with pytest.raises(ValueError, match="needs `prediction_id`, or the prediction itself"):
        OutcomeBatch.model_validate(label(prediction_id=None, rows=1, label=["1"]))
    with pytest.raises(ValueError, match="2 entries"):
        OutcomeBatch.model_validate(label(prediction_id=["a", "b"], rows=1, label=["1"]))


def test_the_columns_are_those_that_a_file_gives() -> None:
    scores = np.array([0.75, 0.2])
    found = rows(complete(), complete(score=0.2))
    assert list(found.columns[3:]) == outcome_columns(SCORED, ["1", "1"], None, scores)
