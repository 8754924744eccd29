"""Violation rates of rules: counted in totals, compared with the reference, told in incidents of the data's quality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Rows, Source
from detector.rules.counter import EXAMPLES, examples_in, tiers_of
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent, Family, Response, Tier
from schemas.rules import RuleSpec
from tests.support.data import MONDAY, numbers, rows_of, spec_of

RULES = (
    {"name": "affordable", "expression": "amount <= 5 * income", "severity": "significant"},
    {"name": "positive", "expression": "income > -100 and amount is not missing", "severity": "minor"},
)
CUT = 128


def loans(count: int, broken: float, *, seed: int = 1, first: int = 0) -> dict[str, Any]:
    """Rows of which a share breaks the first rule, though amount and income are distributed as ever."""
    rng = np.random.default_rng(seed)
    income = rng.uniform(1.0, 2.0, count)
    amount = 5 * income - rng.uniform(0.1, 1.0, count)
    amount[rng.random(count) < broken] += 1.05
    columns = {"feature:amount": amount, "feature:income": income}
    return {"columns": columns, "times": MONDAY + 60.0 * np.arange(first, first + count),
            "offsets": np.arange(first, first + count)}  # fmt: skip


def spec_with(*rules: dict[str, Any], broken: float = 0.0, **settings: Any) -> ModelSpec:
    spec = spec_of(*numbers("amount", "income"), rules=rules, **settings)
    return freeze(spec, rows_of(spec, **loans(4_000, broken)), origin="test")


def judged(spec: ModelSpec, rows: Rows) -> tuple[list[DriftEvent], ModelJudge]:
    judge, total = ModelJudge(spec), RunningTotal(Layout(spec), "t", 0, started_at=int(rows.offsets[0]))
    events: list[DriftEvent] = []
    for start in range(0, len(rows), CUT):
        piece = rows.slice(start, start + CUT)
        total.add(piece, int(piece.offsets[-1]) + 1)
        events += judge.fold(total.to_event())
    return events, judge


def live(spec: ModelSpec, count: int, broken: float) -> Rows:
    return rows_of(spec, **loans(count, broken, seed=2, first=4_000))


def test_violations_that_rise_open_an_incident_of_quality_that_names_the_rule() -> None:
    spec = spec_with(*RULES)
    events, _ = judged(spec, live(spec, 8_000, 0.06))
    assert [event.change for event in events] == ["opened", "escalated"]
    found = (events[-1].family, events[-1].tier, events[-1].response)
    assert found == (Family.QUALITY, Tier.SIGNIFICANT, Response.ENHANCED_MONITORING)
    (verdict,) = events[-1].signals
    assert verdict.signal == "quality:rule:affordable"
    assert verdict.expected_mean == 0.0
    assert verdict.score == pytest.approx(0.06, abs=0.03)
    assert verdict.bins[0].bin == "break amount <= 5 * income"


def test_an_event_names_records_that_broke_the_rule() -> None:
    spec = spec_with(*RULES)
    rows = live(spec, 8_000, 0.06)
    events, _ = judged(spec, rows)
    (verdict,) = events[0].signals
    amount, income = (np.asarray(column) for column in rows.columns)
    broken = set(rows.offsets[amount > 5 * income].tolist())
    assert len(verdict.examples) == EXAMPLES
    assert {each.topic for each in verdict.examples} == {"t"}
    assert {each.offset for each in verdict.examples} <= broken


def test_violations_that_the_reference_has_are_no_incident() -> None:
    spec = spec_with(*RULES, broken=0.06)
    assert judged(spec, live(spec, 8_000, 0.06))[0] == []


def test_a_rule_written_after_the_reference_was_made_is_expected_to_be_kept() -> None:
    before = spec_with(RULES[1])
    after = before.model_copy(update={"rules": tuple(RuleSpec(**each) for each in RULES)})
    assert judged(after, live(after, 4_000, 0.0))[0] == []
    events, _ = judged(after, live(after, 8_000, 0.06))
    assert events[0].signals[0].signal == "quality:rule:affordable"
    reference = Layout(after).reference()
    counts = sum(Layout(after).rule_counts(vector) for vector in reference.parts.values())
    assert np.array_equal(counts, [[0, 0, 0], [0, 4_000, 0]])


def test_rules_put_in_another_order_keep_their_counts() -> None:
    spec = spec_with(*RULES, broken=0.06)
    turned = spec.model_copy(update={"rules": spec.rules[::-1]})
    one, other = (
        sum(Layout(each).rule_counts(vector) for vector in Layout(each).reference().parts.values())
        for each in (spec, turned)
    )
    assert np.array_equal(one, other[::-1])


def test_a_rule_that_was_changed_is_not_compared_with_what_it_was() -> None:
    spec = spec_with(*RULES, broken=0.06)
    changed = RULES[0] | {"expression": "amount <= 6 * income"}
    edited = spec.model_copy(update={"rules": (RuleSpec(**changed), spec.rules[1])})
    counts = [Layout(edited).rule_counts(vector) for vector in Layout(edited).reference().parts.values()]
    assert counts[0][0].sum() == 0


def test_rows_of_which_nothing_can_be_said_are_counted_and_are_no_violation() -> None:
    spec = spec_with(*RULES)
    columns = {"feature:amount": [np.nan, 1.0, 99.0], "feature:income": [1.0, 1.0, 1.0]}
    (vector,) = Layout(spec).count(rows_of(spec, columns)).parts.values()
    assert Layout(spec).rule_counts(vector).tolist() == [[1, 1, 1], [1, 2, 0]]


def test_a_rule_over_the_label_is_counted_where_labels_come() -> None:
    spec = spec_of(*numbers("amount"), outcomes={}, prediction={"output": "class"},
                   rules=[{"name": "r", "expression": "label == 'no' or amount > 1"}])  # fmt: skip
    columns = {"feature:amount": np.linspace(0, 2, 400), "prediction": ["no", "yes"] * 200}
    labels = {"label": ["no", "yes"] * 200, "performance:error": ["false"] * 400}
    predictions, outcomes = rows_of(spec, columns), rows_of(spec, labels, source=Source.OUTCOMES)
    outcomes = replace(outcomes, context=predictions.columns)
    layout = Layout(freeze(spec, [predictions, outcomes], origin="test"))
    (of_predictions,) = layout.count(predictions).parts.values()
    (of_labels,) = layout.count(outcomes).parts.values()
    assert layout.rule_counts(of_predictions).tolist() == [[0, 0, 0]]
    assert layout.rule_counts(of_labels).tolist() == [[100, 300, 0]]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_records_named_do_not_depend_on_how_the_log_was_cut(size: int) -> None:
    spec = spec_with(*RULES)
    rows = live(spec, 300, 0.2)
    whole, pieces = (RunningTotal(Layout(spec), "t", 0, started_at=4_000) for _ in range(2))
    whole.add(rows, 4_300)
    for start in range(0, 300, size):
        pieces.add(rows.slice(start, start + size), min(4_300, 4_000 + start + size))
    assert examples_in(pieces.carry) == examples_in(whole.carry)
    assert pieces.profile == whole.profile
    amount, income = (np.asarray(column) for column in rows.columns)
    assert examples_in(whole.carry)[0] == tuple(rows.offsets[amount > 5 * income][-EXAMPLES:].tolist())


def test_a_status_says_what_became_of_each_rule() -> None:
    spec = spec_with(*RULES)
    _, judge = judged(spec, live(spec, 2_000, 0.06))
    (status,) = judge.status()
    affordable, positive = status.rules
    assert (affordable.name, affordable.expression) == ("affordable", "amount <= 5 * income")
    assert affordable.broken + affordable.kept == 2_000
    assert 50 < affordable.broken < 200
    assert (positive.broken, positive.kept, positive.open) == (0, 2_000, 0)
    assert len(affordable.examples) == EXAMPLES
    assert positive.examples == ()


def test_a_restored_judge_names_the_same_records() -> None:
    spec = spec_with(*RULES)
    _, judge = judged(spec, live(spec, 2_000, 0.06))
    assert ModelJudge.restore(spec, judge.state()).status() == judge.status()


@pytest.mark.parametrize(("severity", "tier"), [("minor", 1), ("moderate", 2), ("significant", 3)])
def test_severity_is_the_tier_that_a_rise_reaches(severity: str, tier: int) -> None:
    tiers = tiers_of(RuleSpec(name="r", expression="a > 1", severity=severity, rise=0.01))
    reached = [each for each in (tiers.minor, tiers.moderate, tiers.significant) if each == 0.01]
    assert len(reached) == tier
