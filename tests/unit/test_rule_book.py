"""Rules on rows: which stream they are asked of, what they read, and what is never said of a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.rows import INVALID, Rows, Source
from detector.rules.book import RuleBook, Verdicts
from schemas.model_spec import FeatureSpec, ModelSpec
from tests.support.data import MONDAY, category, numbers, rows_of, spec_of

FEATURES = (*numbers("loan_amount", "income"), category("status"), FeatureSpec(name="active", type="boolean"))
LOANS = {
    "feature:loan_amount": [10.0, 60.0, np.nan, np.inf],
    "feature:income": [10.0, 10.0, 10.0, 10.0],
    "feature:status": ["open", "closed", None, INVALID],
    "feature:active": ["true", "false", None, "true"],
}


def spec_with(expression: str, **settings: Any) -> ModelSpec:
    return spec_of(*settings.pop("features", FEATURES), rules=[{"name": "r", "expression": expression}], **settings)


def asked(spec: ModelSpec, rows: Rows) -> str:
    """K for each row that keeps the rule, B that breaks it, ? where nothing can be said."""
    (verdicts,) = RuleBook(spec).ask(rows)
    return told(verdicts)


def told(verdicts: Verdicts | None) -> str:
    assert verdicts is not None
    return "".join("K" if kept else "B" if broken else "?" for kept, broken in zip(verdicts.kept, verdicts.broken,
                                                                                   strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("loan_amount <= 5 * income", "KB??"),
        ('status != "closed" or active', "KB?K"),
        ("loan_amount is not missing", "KKBK"),
        ("status is missing", "BBKB"),
        ("loan_amount is not missing and loan_amount < 50", "KBB?"),
        ("loan_amount / (income - 10) > 0", "????"),
        ("status in ('open', 'paid')", "KB??"),
        ("not active", "BK?B"),
        ("active or true", "KKKK"),
        ("len(status) == 4", "KB??"),
        ("min(loan_amount, income) == 10", "KK??"),
    ],
)
def test_a_rule_is_kept_broken_or_open(expression: str, expected: str) -> None:
    spec = spec_with(expression)
    assert asked(spec, rows_of(spec, LOANS)) == expected


def test_a_rule_over_the_prediction_is_asked_where_predictions_come() -> None:
    spec = spec_with("score <= 0.5 or income > 5", prediction={"output": "score"})
    rows = rows_of(spec, {"feature:income": [1.0, 9.0], "prediction": [0.9, 0.9]})
    assert asked(spec, rows) == "BK"
    assert RuleBook(spec).ask(replace(rows, source=Source.FEATURES)) == [None]


def test_a_rule_over_features_alone_is_asked_where_features_come() -> None:
    spec = spec_with("income > 5", features_from="features")
    rows = rows_of(spec, {"feature:income": [1.0]}, source=Source.FEATURES)
    assert asked(spec, rows) == "B"
    assert RuleBook(spec).ask(replace(rows, source=Source.PREDICTIONS)) == [None]


def test_a_rule_over_the_label_reads_what_the_label_belongs_to() -> None:
    spec = spec_with("label == 'no' or income > 5", outcomes={}, prediction={"output": "class"})
    rows = rows_of(spec, {"label": ["yes", "no", "yes"]}, source=Source.OUTCOMES)
    known = rows_of(spec, {"feature:income": [1.0, 1.0, 9.0]}, source=Source.OUTCOMES)
    assert asked(spec, replace(rows, context=known.columns)) == "BKK"
    assert asked(spec, rows) == "?K?"


def test_parts_of_the_time_are_those_of_the_timezone() -> None:
    spec = spec_with("income > 0 and time.hour == 23 and time.weekday == 6", timezone="America/New_York")
    times = [MONDAY + 4.5 * 3_600, MONDAY + 12 * 3_600, np.nan]
    assert asked(spec, rows_of(spec, {"feature:income": [1.0] * 3}, times=times)) == "KB?"


def test_no_rows_are_no_fault() -> None:
    spec = spec_with('status == "open" and income > len(status) and active')
    assert asked(spec, rows_of(spec, {name: [] for name in LOANS})) == ""
