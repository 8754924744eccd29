"""The page on validation says what the decoders do, and its examples can be used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detector.rows import INVALID
from schemas.model_spec import FeatureSpec
from tests.support.data import numbers, spec_of
from tests.support.decoding import rows_in

PAGE = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
TABLE = PAGE[PAGE.index("| type | the event has") : PAGE.index("A number in a string stays")]
ROWS = [
    (kind, value, counts)
    for kind, cell, counts in re.findall(r"^\| (number|category|boolean) \| (.+?) \| (.+?) \|$", TABLE, re.MULTILINE)
    for value in re.findall(r"`([^`]+)`", cell)
]


def decoded(kind: str, value: str, *, batch: bool) -> Any:
    """The one value in the column, from an event of one row or of one row in columns."""
    written = f"[{value}]" if batch else value
    event = f'{{"model": "m", "version": "1", "prediction": {"[1]" if batch else 1}, "features": {{"x": {written}}}'
    text = event + (', "rows": 1}' if batch else "}")
    column = rows_in(spec_of(FeatureSpec(name="x", type=kind)), text.encode()).columns[0]
    assert column is not None
    return column[0]


def told(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "missing"
    if value == INVALID or (isinstance(value, float) and np.isinf(value)):
        return "invalid"
    return "an empty text, which is a category too" if value == "" else f"`{value}`"


def test_the_table_has_rows_of_every_type() -> None:
    assert {kind for kind, _, _ in ROWS} == {"number", "category", "boolean"}
    assert len(ROWS) > 20


@pytest.mark.parametrize("batch", [False, True], ids=["row", "column"])
@pytest.mark.parametrize(("kind", "value", "counts"), ROWS)
def test_a_value_counts_as_the_page_says(kind: str, value: str, counts: str, batch: bool) -> None:
    assert told(decoded(kind, value, batch=batch)) == counts


@pytest.mark.parametrize("kind", ["number", "category", "boolean"])
def test_a_field_that_is_not_there_is_missing(kind: str) -> None:
    spec = spec_of(FeatureSpec(name="x", type=kind), *numbers("y"))
    column = rows_in(spec, json.dumps({"model": "m", "version": "1", "prediction": 1, "features": {"y": 1}}).encode())
    assert column.columns[0] is not None
    assert told(column.columns[0][0]) == "missing"


def test_the_examples_on_the_page_are_right() -> None:
    blocks = {name: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for name in yaml.safe_load(text)}
    features = yaml.safe_load(blocks["features"])["features"]
    rules = yaml.safe_load(blocks["rules"])["rules"]
    more = [*numbers("loan_amount", "income", "balance", "amount"), FeatureSpec(name="status", type="category")]
    spec = spec_of(*(FeatureSpec(**each) for each in features), *more, rules=rules)
    assert len(spec.checked_rules) == 3
