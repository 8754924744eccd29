"""What decoding makes of events: values, answers, times, identities."""

from __future__ import annotations

import base64
import json
import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from agents.formats import RunDecoder
from agents.formats.structs import LOOK_AGAIN_AFTER
from agents.registry import Registration
from detector.rows import INVALID, STAGES, Source
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec, Output, PredictionSpec, Stage
from tests.support.data import numbers, spec_of
from tests.support.decoding import (
    APPENDED,
    Limits,
    decode,
    decoder_for,
    details,
    reasons,
    record,
    rows_in,
    run_of,
    same_rows,
)

SPEC = spec_of(
    *numbers("age", "income"),
    FeatureSpec(name="country", type=FeatureType.CATEGORY),
    FeatureSpec(name="member", type=FeatureType.BOOLEAN),
    prediction=PredictionSpec(output=Output.SCORE),
)
FEATURES = {"age": 41.5, "income": 52_000, "country": "DE", "member": True}


def event(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "version": "1", "score": 0.25, "features": FEATURES} | fields


def with_features(**values: Any) -> dict[str, Any]:
    return event(features=FEATURES | values)


def answer(output: Output, *, positive_class: str | None = None, task: str = "binary", **fields: Any) -> Any:
    """What is watched of an event."""
    spec = spec_of(task=task, prediction=PredictionSpec(output=output, positive_class=positive_class))
    column = rows_in(spec, {"model": "m", "version": "1"} | fields).columns[0]
    assert column is not None
    return column[0]


# ------------------------------------------------------------------------------------------------------- values


def test_a_row_holds_the_values_in_the_order_of_the_specs_signals() -> None:
    rows = rows_in(SPEC, event(), with_features(age=20))
    age, income, country, member, score = rows.columns
    np.testing.assert_array_equal(age, [41.5, 20.0])
    np.testing.assert_array_equal(income, [52_000.0, 52_000.0])
    assert (country, member) == (["DE", "DE"], ["true", "true"])
    np.testing.assert_array_equal(score, [0.25, 0.25])
    assert rows.offsets.tolist() == [100, 101]


def test_the_order_in_which_a_producer_writes_the_features_does_not_matter() -> None:
    backwards = event(features=dict(reversed(FEATURES.items())))
    assert same_rows(rows_in(SPEC, event()), rows_in(SPEC, backwards))
    both = rows_in(SPEC, event(), backwards)
    assert same_rows(both.slice(0, 1), rows_in(SPEC, event()))
    assert both.columns[0].tolist() == [41.5, 41.5]


@pytest.mark.parametrize("missing", ["null", "absent", "NaN"])
def test_null_nan_and_an_absent_feature_are_missing(missing: str) -> None:
    values = {
        "null": {"age": None, "country": None, "member": None},
        "NaN": dict.fromkeys(FEATURES, math.nan),
        "absent": {},
    }
    rows = rows_in(SPEC, event(features=values[missing]))
    assert math.isnan(rows.columns[0][0])
    assert rows.columns[2] == [None]
    assert rows.columns[3] == [None]


def test_an_event_without_features_has_them_all_missing() -> None:
    rows = rows_in(SPEC, {"model": "m", "version": "1", "score": 0.5}, event(features=None))
    assert np.isnan(rows.columns[0]).all()
    assert rows.columns[2] == [None, None]


def test_features_that_the_spec_does_not_know_are_ignored() -> None:
    assert same_rows(rows_in(SPEC, with_features(shoe_size=[1, {"a": None}])), rows_in(SPEC, event()))


@pytest.mark.parametrize("value", ["41", True, [41], {"value": 41}])
def test_a_value_that_is_no_number_is_invalid_and_its_row_is_kept(value: Any) -> None:
    decoded = decode(SPEC, event(), with_features(age=value), event())
    ((_, rows),) = decoded.rows
    assert rows.columns[0].tolist() == [41.5, math.inf, 41.5]
    assert rows.columns[1].tolist() == [52_000.0] * 3
    assert decoded.invalid == {("m", "1"): {"age": 1}}
    assert not decoded.letters


@pytest.mark.parametrize("literal", ["Infinity", "-Infinity", "1e999", "-1e999", "1" * 400, "1" * 5_000])
def test_a_number_out_of_range_is_invalid(literal: str) -> None:
    value = json.dumps(with_features(age="HERE")).replace('"HERE"', literal).encode()
    decoded = decode(SPEC, value)
    ((_, rows),) = decoded.rows
    assert abs(rows.columns[0][0]) == math.inf
    assert decoded.invalid == {("m", "1"): {"age": 1}}


def test_big_integers_are_numbers() -> None:
    assert rows_in(SPEC, with_features(age=2**64 + 1, income=-(10**30))).columns[0][0] == 2.0**64


@pytest.mark.parametrize(
    ("value", "category"),
    [
        ("DE", "DE"), ("", ""), (3, "3"), (3.0, "3"), (1e3, "1000"), (-0.0, "0"), (1.5, "1.5"),
        (True, "true"), (False, "false"), (2**64 + 1, "18446744073709551617"), (["DE"], INVALID),
        ({}, INVALID), (math.inf, INVALID), (math.nan, None),
    ],
)  # fmt: skip
def test_a_category_is_written_alike_whatever_its_type(value: Any, category: str | None) -> None:
    assert rows_in(SPEC, with_features(country=value)).columns[2] == [category]


@pytest.mark.parametrize(
    ("value", "boolean"),
    [(True, "true"), (False, "false"), (1, "true"), (0.0, "false"), (2, INVALID), ("true", INVALID), ([], INVALID)],
)
def test_a_boolean_is_true_or_false_or_the_numbers_one_and_zero(value: Any, boolean: str) -> None:
    decoded = decode(SPEC, with_features(member=value))
    assert decoded.rows[0][1].columns[3] == [boolean]
    assert decoded.invalid == ({("m", "1"): {"member": 1}} if boolean is INVALID else {})


def test_names_may_have_any_characters() -> None:
    names = ['sa"y', "a\\b", "tab\there", "ümläut 💶", "class", "a.b[0]"]
    spec = spec_of(*numbers(*names))
    rows = rows_in(spec, event(features={name: n for n, name in enumerate(names)}, prediction=1))
    assert [column[0] for column in rows.columns] == list(range(len(names)))


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    twice = (
        json.dumps(event())
        .replace('"age": 41.5', '"age": 1, "age": 2')
        .replace('"model": "m"', '"model": "x", "model": "m"')
    )
    assert rows_in(SPEC, twice.encode()).columns[0].tolist() == [2.0]


def test_escapes_in_keys_and_values_mean_what_json_says() -> None:
    escaped = json.dumps(event()).replace('"model": "m"', '"mod\\u0065l": "\\u006d"').replace("income", "inc\\u006fme")
    assert rows_in(SPEC, escaped.encode()).columns[1].tolist() == [52_000.0]


# ------------------------------------------------------------------------------------------------------- streams


def test_features_are_read_from_the_stream_that_the_spec_names() -> None:
    spec = spec_of(*numbers("age"), features_from="features", prediction=PredictionSpec(output=Output.SCORE))
    of_predictions = rows_in(spec, event())
    assert of_predictions.columns[0] is None
    assert of_predictions.columns[1].tolist() == [0.25]
    of_features = rows_in(spec, {"model": "m", "version": "1", "features": {"age": 3}}, source=Source.FEATURES)
    assert of_features.columns[0].tolist() == [3.0]
    assert of_features.columns[1] is None


def test_a_feature_event_of_a_model_judged_on_predictions_is_a_row_without_columns() -> None:
    rows = rows_in(SPEC, {"model": "m", "version": "1", "features": FEATURES}, source=Source.FEATURES)
    assert len(rows) == 1
    assert set(rows.columns) == {None}


@pytest.mark.parametrize("features", [None, 5, [1], "x"])
def test_a_feature_event_needs_an_object_of_features(features: Any) -> None:
    spec = spec_of(*numbers("age"), features_from="features")
    decoded = decode(spec, {"model": "m", "version": "1", "features": features}, source=Source.FEATURES)
    assert reasons(decoded) == {100: "invalid_event"}
    assert "`features`" in decoded.letters[0].detail


@pytest.mark.parametrize("stage", list(Stage))
def test_the_stage_is_kept(stage: Stage) -> None:
    assert STAGES[rows_in(SPEC, event(stage=stage.value)).stages[0]] is stage


def test_without_a_stage_a_row_is_of_production() -> None:
    rows = rows_in(SPEC, event(), event(stage=None), event(stage="canary"))
    assert [STAGES[stage] for stage in rows.stages] == [Stage.PRODUCTION, Stage.PRODUCTION, Stage.CANARY]


# ------------------------------------------------------------------------------------------------------- answers


def test_a_score_is_taken_before_probabilities() -> None:
    assert answer(Output.SCORE, positive_class="no", score=0.9, probabilities={"yes": 0.2, "no": 0.8}) == 0.9


def test_without_a_score_the_probability_of_the_positive_class_counts() -> None:
    assert answer(Output.SCORE, positive_class="no", probabilities={"yes": 0.2, "no": 0.8}) == 0.8


def test_without_a_positive_class_the_second_of_two_in_sorted_order_is_positive() -> None:
    assert answer(Output.SCORE, probabilities={"1": 0.7, "0": 0.3}) == 0.7
    assert answer(Output.SCORE, probabilities={"yes": 0.2, "no": 0.8}) == 0.2


def test_which_of_three_classes_is_positive_is_not_guessed() -> None:
    assert math.isnan(answer(Output.SCORE, probabilities={"a": 0.2, "b": 0.2, "c": 0.6}))


def test_the_score_of_a_multiclass_model_is_its_confidence() -> None:
    assert answer(Output.SCORE, task="multiclass", probabilities={"a": 0.2, "b": 0.5, "c": 0.3}) == 0.5


def test_a_class_is_taken_from_prediction_or_is_the_most_probable() -> None:
    assert answer(Output.CLASS, prediction="a", probabilities={"a": 0.1, "b": 0.9}) == "a"
    assert answer(Output.CLASS, probabilities={"a": 0.1, "b": 0.9}) == "b"
    assert answer(Output.CLASS, prediction=1) == "1"
    assert answer(Output.CLASS, prediction=True) == "true"


def test_the_number_of_a_regression_is_its_prediction() -> None:
    assert answer(Output.NUMBER, task="regression", prediction=3) == 3.0


@pytest.mark.parametrize("probabilities", [5, [0.1, 0.9], {"a": "high"}])
def test_probabilities_that_cannot_be_read_are_an_invalid_answer(probabilities: Any) -> None:
    assert answer(Output.CLASS, probabilities=probabilities) is INVALID


def test_an_answer_of_the_wrong_type_is_invalid_and_counted() -> None:
    decoded = decode(SPEC, event(score="high"))
    assert decoded.rows[0][1].columns[4].tolist() == [math.inf]
    assert decoded.invalid == {("m", "1"): {"prediction": 1}}


def test_an_event_that_answers_something_else_than_is_watched_has_a_missing_answer() -> None:
    assert math.isnan(answer(Output.SCORE, prediction="yes"))
    assert answer(Output.CLASS, score=0.5) is None


@pytest.mark.parametrize("spec", [SPEC, spec_of(*numbers("age"))])
@pytest.mark.parametrize("fields", [{}, {"score": None, "prediction": None}])
def test_a_prediction_event_that_answers_nothing_is_refused(spec: ModelSpec, fields: dict[str, None]) -> None:
    decoded = decode(spec, event(), {"model": "m", "version": "1", "features": FEATURES} | fields, event())
    assert reasons(decoded) == {101: "invalid_event"}
    assert len(decoded.rows[0][1]) == 2
    assert "`prediction`, `score` or `probabilities`" in decoded.letters[0].detail


# ------------------------------------------------------------------------------------------------- model versions


def test_rows_of_several_models_come_apart_each_in_the_order_of_the_log() -> None:
    one, other = SPEC, spec_of(*numbers("age"), model="n")
    events = [event(model="mn"[n % 2], prediction=1, features={"age": n}) for n in range(40)]
    decoded = decoder_for(one, other).decode(run_of(*events), Source.PREDICTIONS)
    ages = {registration.spec.model: rows.columns[0].tolist() for registration, rows in decoded.rows}
    assert ages == {"m": list(range(0, 40, 2)), "n": list(range(1, 40, 2))}


def test_versions_of_a_model_are_models_of_their_own() -> None:
    specs = [spec_of(*numbers("age"), version=version) for version in ("1", "2")]
    events = [event(version=version) for version in ("1", "2", "2", "1", "2")]
    decoded = decoder_for(*specs).decode(run_of(*events), Source.PREDICTIONS)
    assert {registration.spec.version: len(rows) for registration, rows in decoded.rows} == {"1": 2, "2": 3}


def test_unregistered_rows_are_counted_and_a_few_are_kept_as_examples() -> None:
    batch = {"model": "who", "version": "7", "rows": 100, "features": {"x": list(range(100))}, "score": [0.5] * 100}
    decoded = decode(SPEC, event(), event(model="who", version="7", prediction="yes"), batch, event())
    assert decoded.unregistered == {("who", "7"): 101}
    examples = decoded.examples["who", "7"]
    assert examples[0] == FEATURES | {"prediction": "yes", "score": 0.25}
    assert examples[1] == {"x": 0, "score": 0.5}
    assert len(examples) == 64
    assert len(decoded.rows[0][1]) == 2


def test_a_batch_cannot_claim_more_unregistered_rows_than_it_has_bytes() -> None:
    decoded = decode(SPEC, {"model": "who", "version": "7", "rows": 10**15, "features": {}})
    assert decoded.unregistered["who", "7"] < 100


def test_a_registration_that_changes_between_runs_is_followed() -> None:
    registered: dict[tuple[str, str], Registration] = {}
    decoder = RunDecoder(lambda model, version: registered.get((model, version)), Limits())
    assert decoder.decode(run_of(event()), Source.PREDICTIONS).unregistered == {("m", "1"): 1}
    for names in (("age",), ("income", "age")):
        spec = spec_of(*numbers(*names))
        registered["m", "1"] = Registration(spec, None, 0, spec.hash)
        ((registration, rows),) = decoder.decode(run_of(event()), Source.PREDICTIONS).rows
        assert registration is registered["m", "1"]
        assert len(rows.columns) == len(names)


def test_a_producer_that_changes_the_order_of_its_keys_is_understood_at_every_run() -> None:
    decoder = decoder_for(SPEC)
    expected = rows_in(SPEC, event(), event(), event())
    orders = list(permutations(FEATURES.items()))
    for order in orders * (3 * LOOK_AGAIN_AFTER // len(orders)):
        reordered = event(features=dict(order))
        ((_, rows),) = decoder.decode(run_of(reordered, event(), reordered), Source.PREDICTIONS).rows
        assert same_rows(rows, expected)


# ------------------------------------------------------------------------------------------------------ bad records


def test_only_the_bad_records_of_a_run_become_dead_letters() -> None:
    decoded = decode(SPEC, event(), b"{nope", event(), b"", None, event(stage="nowhere"), event())
    assert reasons(decoded) == {101: "invalid_json", 103: "empty", 104: "empty", 105: "unknown_stage"}
    assert decoded.rows[0][1].offsets.tolist() == [100, 102, 106]
    assert [letter.id for letter in decoded.letters] == [
        f"driftline.predictions/3/{offset}" for offset in (101, 103, 104, 105)
    ]


@pytest.mark.parametrize(
    "value",
    [
        b"{nope",
        b"{}{}",
        json.dumps(event()).encode() + b"," + json.dumps(event()).encode(),
        json.dumps(event()).encode() + b"\n" + json.dumps(event()).encode(),
        json.dumps(event()).encode() + b"],[2",
        b"1],[2",
        b'{"model": "m", "version": "1", "score": 0.5',
        b'"x": 1}',
        b"\xff\xfe{}",
        b'{"model": "m", "version": "1", "score": 1, "features": {"country": "\xff"}}',
        b'{"model": "m", "version": "1", "score": 1, "features": {"country": "\\ud800"}}',
        b"[" * 100_000,
        b'{"model": "m", "version": "1", "score": 1, "extra": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\x00" * 50,
    ],
)
def test_what_is_no_json_is_refused_alone(value: bytes) -> None:
    decoded = decode(SPEC, event(), value, event())
    assert reasons(decoded) == {101: "invalid_json"}
    assert decoded.letters[0].detail.startswith("the value is not JSON")
    assert decoded.rows[0][1].offsets.tolist() == [100, 102]


def test_records_cannot_borrow_brackets_from_their_neighbours() -> None:
    good = json.dumps(event())
    head, tail = good[:-1] + ', "x": [{"a": 1}', '{"b": 2}]}'
    decoded = decode(SPEC, f"{good},{good}".encode(), head.encode(), tail.encode())
    assert reasons(decoded) == {100: "invalid_json", 101: "invalid_json", 102: "invalid_json"}
    assert decoded.rows == []


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([event()], "the event is a list: write one object for each message"),
        (5, "the event is a number"),
        (event(model=None), "`model` is missing"),
        (event(version=3), '`version` is a number: write it as a string, as in "3"'),
        (event(model="a/b"), "`model` 'a/b' is no name"),
        (event(model=""), "is no name"),
        (event(rows=0), "`rows` is 0"),
        (event(rows="2"), "`rows` is 2"),
        (event(features=[1, 2]), "`features` is a list: write an object of names and values"),
    ],
)
def test_an_event_of_the_wrong_shape_is_refused_with_a_sentence_that_names_the_field(value: Any, sentence: str) -> None:
    decoded = decode(SPEC, value)
    assert reasons(decoded) == {100: "invalid_event"}
    assert sentence in details(decoded.letters)[0]


def test_a_record_over_the_limit_is_not_read() -> None:
    large = event(padding="x" * 2_000_000)
    decoded = decode(SPEC, event(), large, event())
    assert reasons(decoded) == {101: "too_large"}
    assert "DRIFTLINE_MAX_RECORD_BYTES" in decoded.letters[0].detail
    assert len(decoded.rows[0][1]) == 2


def test_a_run_of_nothing_good_has_no_rows() -> None:
    assert decode(SPEC, b"", b"").rows == []


# ------------------------------------------------------------------------------------------------------ CloudEvents


def test_a_structured_cloudevent_is_its_data() -> None:
    wrapped = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": event()}
    assert same_rows(rows_in(SPEC, wrapped), rows_in(SPEC, event()))


def test_a_cloudevent_may_carry_its_data_in_base64() -> None:
    wrapped = {"specversion": "1.0", "data_base64": base64.b64encode(json.dumps(event()).encode()).decode()}
    assert same_rows(rows_in(SPEC, wrapped), rows_in(SPEC, event()))
    assert reasons(decode(SPEC, {"specversion": "1.0", "data_base64": "§"})) == {100: "invalid_event"}


def test_the_time_of_a_cloudevent_stands_in_for_the_events_own() -> None:
    header = [("ce_specversion", b"1.0"), ("ce_time", b"2024-05-01T11:00:00Z")]
    structured = {"specversion": "1.0", "time": "2024-05-01T11:00:00Z", "data": event()}
    batch = {"model": "m", "version": "1", "rows": 2, "score": [1, 2]}
    for value in (record(event(), headers=header), structured, record(batch, headers=header)):
        assert set(rows_in(SPEC, value).times) == {APPENDED - 3_600}
    own = event(time="2024-05-01T11:30:00Z")
    assert rows_in(SPEC, record(own, headers=header)).times[0] == APPENDED - 1_800


def test_an_event_beside_a_specversion_is_a_bare_event() -> None:
    assert same_rows(rows_in(SPEC, event(specversion="1.0")), rows_in(SPEC, event()))
