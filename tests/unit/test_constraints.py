"""What a spec asks of values beyond their type: on the wire and in files, value by value or row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from agents.files import DataFile, RowReader
from agents.spec_file import parse_spec, render_spec
from detector.constraints import describe
from detector.rows import INVALID, Source
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec, OnInvalid
from tests.support.data import numbers, spec_of
from tests.support.decoding import decode, details, reasons, rows_in

AGE = FeatureSpec(name="age", type="number", minimum=0, maximum=120, unit="years")
COUNTRY = FeatureSpec(name="country", type="category", categories=("DE", "FR"))


def strict(feature: FeatureSpec, **more: Any) -> FeatureSpec:
    return feature.model_copy(update={"on_invalid": OnInvalid.ROW, **more})


def event(**features: Any) -> dict[str, Any]:
    return {"model": "m", "version": "1", "features": features, "prediction": 1}


def batch(rows: int, **features: Any) -> dict[str, Any]:
    return event(**features) | {"rows": rows, "prediction": [1] * rows}


def column(spec: ModelSpec, *values: Any) -> list[Any]:
    (feature,) = spec.features
    one_by_one = rows_in(spec, *(event(**{feature.name: value}) for value in values)).columns[0]
    at_once = rows_in(spec, batch(len(values), **{feature.name: list(values)})).columns[0]
    assert np.array_equal(np.array(one_by_one), np.array(at_once), equal_nan=feature.type is FeatureType.NUMBER)
    assert one_by_one is not None
    return list(one_by_one)


# --------------------------------------------------------------------------------------------- value by value


def test_a_number_outside_its_range_is_invalid_and_its_ends_are_inside() -> None:
    assert column(spec_of(AGE), -0.5, 0, 120, 121) == [np.inf, 0.0, 120.0, np.inf]


def test_a_range_may_have_one_end() -> None:
    spec = spec_of(FeatureSpec(name="age", type="number", minimum=18))
    assert column(spec, 17, 1e300) == [np.inf, 1e300]


def test_a_missing_number_stays_missing() -> None:
    assert np.isnan(column(spec_of(AGE), None)).all()


def test_a_category_that_is_not_allowed_is_invalid() -> None:
    assert column(spec_of(COUNTRY), "DE", "XX", None, ["DE"]) == ["DE", INVALID, None, INVALID]


def test_a_category_that_is_too_long_is_invalid() -> None:
    spec = spec_of(FeatureSpec(name="code", type="category", max_length=3))
    assert column(spec, "abc", "abcd", 1234) == ["abc", INVALID, INVALID]


def test_what_breaks_a_constraint_is_counted_as_invalid_by_feature() -> None:
    decoded = decode(spec_of(AGE, COUNTRY), event(age=-1, country="XX"), event(age=1, country="XX"))
    assert decoded.invalid == {("m", "1"): {"age": 1, "country": 2}}
    assert not decoded.letters


# ------------------------------------------------------------------------------------------------ row by row


def test_a_row_that_must_go_is_a_dead_letter_that_says_why() -> None:
    decoded = decode(spec_of(strict(AGE), *numbers("income")), event(age=130, income=1), event(age=30, income=1))
    assert reasons(decoded) == {100: "invalid_value"}
    assert details(decoded.letters) == [
        "feature 'age' is not valid: the spec asks for a number from 0 to 120 (years)",
    ]
    assert len(decoded.rows[0][1]) == 1


def test_a_missing_value_takes_its_row_along_only_where_it_is_required() -> None:
    assert not decode(spec_of(strict(AGE)), event(age=None)).letters
    decoded = decode(spec_of(strict(AGE, required=True)), event())
    assert details(decoded.letters) == ["feature 'age' is missing, and the spec requires it"]
    assert not decoded.rows


def test_of_an_event_of_many_rows_the_good_ones_are_counted() -> None:
    decoded = decode(spec_of(strict(COUNTRY)), batch(4, country=["DE", "XX", "FR", 7]))
    assert reasons(decoded) == {100: "invalid_value"}
    assert details(decoded.letters)[0].startswith(
        "2 of its 4 rows were left out (1, 3): feature 'country' is not valid"
    )
    assert decoded.rows[0][1].columns[0] == ["DE", "FR"]


def test_rows_left_out_wait_for_no_label() -> None:
    spec = spec_of(strict(AGE), prediction={"output": "class"}, outcomes={})
    events = [event(age=age) | {"prediction_id": f"p{age}"} for age in (1, 130, 2)]
    (forward,) = decode(spec, *events).forwards
    assert forward.ids == ["p1", "p2"]
    assert len(forward.times) == 2


def test_the_features_of_a_label_are_held_to_the_same() -> None:
    spec = spec_of(strict(AGE), prediction={"output": "class"}, outcomes={})
    rows = rows_in(spec, event(age=130) | {"label": "1"}, source=Source.OUTCOMES)
    assert rows.context is not None
    assert rows.context[0] is not None
    assert rows.context[0][0] == np.inf


# ------------------------------------------------------------------------------------------------ files, specs


def test_a_file_is_held_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,country\n1,DE\n130,DE\n2,XX\n")
    reader = RowReader(DataFile(path), spec_of(strict(AGE), COUNTRY))
    (chunk,) = reader.chunks()
    assert chunk.left_out == {"a value that the spec refuses": 1}
    assert chunk.rows.columns[1] == ["DE", INVALID]
    assert chunk.rows.offsets.tolist() == [0, 2]


def test_a_feature_without_constraints_keeps_its_hash() -> None:
    plain = spec_of(*numbers("age"))
    assert plain.hash == "f26d72e8827c4785cf7e754dd276c69663589696cd1a54ac5005d5893b3db24a"
    assert spec_of(AGE).hash != plain.hash


def test_constraints_survive_the_spec_file() -> None:
    spec = spec_of(strict(AGE, required=True), COUNTRY, *numbers("income"))
    text = render_spec(spec)
    assert parse_spec(text, "spec.yaml") == spec
    assert "- {name: income, type: number, bounds: null, importance: 1.0}\n" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "number", "minimum": 2, "maximum": 1}, "minimum of feature 'x' lies above its maximum"),
        ({"type": "category", "minimum": 2}, "minimum of feature 'x': a category has none"),
        ({"type": "number", "categories": ["a"]}, "categories of feature 'x': a number has none"),
        ({"type": "boolean", "max_length": 3}, "max_length of feature 'x': a boolean has none"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FeatureSpec(name="x", **settings)


def test_constraints_are_told_to_people() -> None:
    code = FeatureSpec(name="x", type="category", max_length=3, categories=tuple("abcdefghij"))
    assert describe(AGE) == "a number from 0 to 120 (years)"
    assert describe(code) == "a category that is one of a, b, c, d, e, f, g, h or others of up to 3 characters"
