"""Rules in a model spec: what they can read, and what is refused when a spec is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agents.spec_file import SpecFileError, parse_spec, render_spec
from schemas.model_spec import ModelSpec
from tests.support.data import category, numbers, spec_of

FEATURES = (*numbers("loan_amount", "income"), category("status"))


def spec_with(*expressions: str, **settings: Any) -> ModelSpec:
    rules = [{"name": f"r{i}", "expression": each} for i, each in enumerate(expressions)]
    return spec_of(*settings.pop("features", FEATURES), rules=rules, **settings)


def refusal(*expressions: str, **settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        spec_with(*expressions, **settings)
    return str(caught.value)


def test_a_spec_without_rules_keeps_its_hash() -> None:
    plain = spec_of(*FEATURES)
    assert plain.model_copy(update={"rules": ()}).hash == plain.hash
    assert "rules" in plain.model_dump()
    assert spec_with("income > 0").hash != plain.hash


def test_rules_read_what_the_spec_watches() -> None:
    fields = spec_with(
        "score > 0.5 or time.hour < 6", "label == 'yes' or score < 0.9", outcomes={}, prediction={"output": "score"}
    )
    assert [sorted(rule.fields) for rule in fields.checked_rules] == [["score", "time.hour"], ["label", "score"]]


@pytest.mark.parametrize(
    ("expression", "settings", "message"),
    [
        ("prediction == 'a'", {}, "there is no field 'prediction'"),
        ("label == 'a'", {}, "there is no field 'label'"),
        ("score == 'a'", {"prediction": {"output": "score"}}, "this is a text"),
        ("prediction > 1", {"prediction": {"output": "class"}}, "this is a number"),
        ("label == 'a'", {"task": "regression", "outcomes": {}}, "this is a text"),
        ("time.hour < 3", {}, "a rule reads a feature, the prediction or the label"),
        (
            "score > 0 or income > 0",
            {"prediction": {"output": "score"}, "features_from": "features"},
            "come in streams of their own",
        ),
    ],
)
def test_a_rule_that_can_never_be_asked_is_refused(expression: str, settings: dict[str, Any], message: str) -> None:
    assert message in refusal(expression, **settings)


def test_a_feature_hides_a_field_of_the_same_name() -> None:
    spec = spec_with("score == 'a'", features=[category("score")], prediction={"output": "score"})
    assert spec.checked_rules[0].fields["score"].origin == "the features"


def test_all_faulty_rules_are_named_at_once() -> None:
    told = refusal("incom > 0", "status > 0")
    assert "rule r0: there is no field 'incom'" in told
    assert "rule r1: this is a number" in told


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="rules named twice: a"):
        spec_of(*FEATURES, rules=[{"name": "a", "expression": "income > 0"}] * 2)


def test_rules_survive_the_spec_file() -> None:
    spec = spec_with('status != "closed" or income == 0', "loan_amount <= 5 * income")
    assert parse_spec(render_spec(spec), "spec.yaml") == spec


def test_the_spec_file_shows_line_and_place_of_a_fault() -> None:
    text = render_spec(spec_with("loan_amount <= 5 * income"))
    with pytest.raises(SpecFileError) as caught:
        parse_spec(text.replace("5 * income", "5 *"), "spec.yaml")
    first, shown, caret = str(caught.value).splitlines()
    assert first.startswith("spec.yaml:")
    assert first.endswith("rules[0].expression: the expression ends too early: a value is missing, at character 19")
    assert caret.index("^") - shown.index("loan_amount") == len("loan_amount <= 5 *")


def test_the_spec_file_names_the_rule_that_reads_no_field() -> None:
    text = render_spec(spec_with("loan_amount <= 5 * income"))
    with pytest.raises(SpecFileError, match=r"rules: rule r0: there is no field 'incom': did you mean income\?"):
        parse_spec(text.replace("5 * income", "5 * incom"), "spec.yaml")
