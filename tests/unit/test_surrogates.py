"""Surrogate models from totals to events: what each finds, what it leaves alone, and that nothing is lost between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents.files import by_source
from detector.budget import budget_of
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.outcomes import outcome_columns
from detector.reference import freeze
from detector.rows import Rows, Source
from detector.surrogates.basis import Basis
from detector.surrogates.trees import KeptTree
from detector.totals import RunningTotal
from schemas.model_spec import (
    CONCEPT,
    MIMIC,
    MULTIVARIATE,
    ModelSpec,
    Output,
    PredictionSpec,
    Stage,
    SurrogateSpec,
)
from schemas.outbound import DriftEvent, DriftKind, Tier
from tests.support.data import category, numbers, spec_of

STEP = 32
Answers = Callable[[np.ndarray], np.ndarray]


def line(x: np.ndarray) -> np.ndarray:
    """The rule of the world: the class of three features."""
    return (x[0] + 0.5 * x[1] > 0).astype(int)


def other(x: np.ndarray) -> np.ndarray:
    """Another rule, under which both classes are as frequent as before."""
    return (0.5 * x[1] - x[0] > 0).astype(int)


class World:
    """Rows of three normal features, a model that answers, and labels with a tenth of noise."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.offset = 0

    def rows(
        self,
        spec: ModelSpec,
        n: int,
        *,
        label: Answers = line,
        answer: Answers = line,
        correlation: float = 0.6,
        noise: float = 0.1,
        shift: float = 0.0,
    ) -> Rows:
        x = self._rng.normal(size=(3, n))
        x[1] += shift
        x[2] = correlation * x[1] + np.sqrt(1 - correlation**2) * x[2]
        noisy = self._rng.random(n) < noise
        labels = [str(each) for each in np.where(noisy, 1 - label(x), label(x)).tolist()]
        answers = [str(each) for each in answer(x).tolist()]
        offsets = np.arange(self.offset, self.offset + n)
        self.offset += n
        columns = (*x, answers, *outcome_columns(spec, labels, answers))
        return Rows(Source.PREDICTIONS, offsets, np.zeros(n), np.zeros(n, dtype=np.int8), columns)


SPEC = spec_of(
    *numbers("x", "y", "z"), prediction=PredictionSpec(output=Output.CLASS), outcomes={}, surrogates=SurrogateSpec()
)


@pytest.fixture(scope="module")
def frozen() -> ModelSpec:
    return freeze(SPEC, by_source(World(1).rows(SPEC, 2_000), SPEC), origin="test")


class Judged:
    """A judge, its totals, and the events it raised."""

    def __init__(self, spec: ModelSpec, seed: int) -> None:
        self.world, self.judge, self.events = World(seed), ModelJudge(spec), list[DriftEvent]()
        self._totals = {
            source: RunningTotal(self.judge.layout, source.value, 0) for source in (Source.PREDICTIONS, Source.OUTCOMES)
        }

    def feed(self, steps: int, **changes: Any) -> None:
        for _ in range(steps):
            rows = self.world.rows(self.judge.spec, STEP, **changes)
            for part in by_source(rows, self.judge.spec):
                total = self._totals[part.source]
                total.add(part, self.world.offset)
                self.events += self.judge.fold(total.to_event().model_copy(update={"time": None}))

    @property
    def firing(self) -> set[str]:
        (status,) = self.judge.status()
        return {signal.signal for signal in status.signals if signal.tier is not Tier.NONE}


@pytest.fixture(scope="module")
def calm(frozen: ModelSpec) -> Judged:
    """A judge that has seen 1,600 rows in which nothing changed."""
    judged = Judged(frozen, 7)
    judged.feed(50)
    return judged


def after(calm: Judged, steps: int, **changes: Any) -> Judged:
    """Go on from there with something changed, leaving the calm one as it is."""
    judged = Judged(calm.judge.spec, 11)
    judged.judge = ModelJudge.restore(calm.judge.spec, calm.judge.state())
    judged.world.offset = calm.world.offset
    for source, total in calm._totals.items():
        judged._totals[source] = RunningTotal.from_event(total.to_event(), judged.judge.layout)
    judged.feed(steps, **changes)
    return judged


def test_inputs_under_which_one_class_is_rare_are_no_new_concept(calm: Judged) -> None:
    judged = after(calm, 40, shift=3.0)
    assert "feature:y" in judged.firing
    assert CONCEPT not in judged.firing


def test_a_new_concept_is_told_also_where_the_inputs_have_changed(calm: Judged) -> None:
    judged = after(calm, 40, shift=3.0, label=other)
    assert {"feature:y", CONCEPT} <= judged.firing


def test_where_nothing_changes_nothing_is_said(calm: Judged) -> None:
    assert calm.events == []
    (status,) = calm.judge.status()
    not_judged = {signal.signal: signal.not_judged for signal in status.signals}
    assert {name: not_judged[name] for name in (CONCEPT, MULTIVARIATE, MIMIC)} == dict.fromkeys(
        (CONCEPT, MULTIVARIATE, MIMIC)
    )


def test_another_rule_is_a_concept_drift_that_the_features_do_not_explain(calm: Judged) -> None:
    judged = after(calm, 40, label=other)
    assert CONCEPT in judged.firing
    assert judged.firing.isdisjoint({MULTIVARIATE, MIMIC, "feature:x", "feature:y", "feature:z"})
    diagnosis = judged.events[-1].diagnosis
    assert diagnosis is not None
    assert DriftKind.CONCEPT in diagnosis.drifts
    assert diagnosis.loss is not None
    assert diagnosis.loss.explained is not None
    assert diagnosis.loss.explained < 0.2
    assert diagnosis.reverse is not None
    assert diagnosis.reverse.recent > diagnosis.reverse.reference + 0.1
    assert "not explained by the features" in diagnosis.explanation


def test_a_concept_drift_names_the_challenger_and_by_how_much_it_gained(calm: Judged) -> None:
    judged = after(calm, 40, label=other)
    verdict = next(each for each in judged.events[-1].signals if each.signal == CONCEPT)
    assert verdict.kind is DriftKind.CONCEPT
    assert verdict.model is not None
    assert verdict.score_name == "increase"
    assert verdict.score_interval is not None
    assert verdict.score_interval[0] <= verdict.score <= verdict.score_interval[1]
    assert verdict.actual_mean is not None
    assert verdict.expected_mean is not None
    assert verdict.actual_mean - verdict.expected_mean == pytest.approx(verdict.score, abs=1e-5)


def hard(x: np.ndarray) -> np.ndarray:
    """A rule that nobody can foretell where the second feature is large."""
    return line(x) ^ ((x[1] > 0.8) & (np.sin(997 * x[0]) > 0))


def test_a_loss_that_came_with_the_features_is_explained_by_them() -> None:
    spec = freeze(SPEC, by_source(World(3).rows(SPEC, 2_000, label=hard), SPEC), origin="test")
    judged = Judged(spec, 5)
    judged.feed(50, label=hard)
    assert judged.events == []
    judged.feed(30, label=hard, shift=1.2)
    diagnosis = judged.events[-1].diagnosis
    assert diagnosis is not None
    assert {"feature:y", "performance:error"} <= judged.firing
    assert CONCEPT not in judged.firing
    assert diagnosis.features[0].feature == "y"
    assert diagnosis.loss is not None
    assert diagnosis.loss.explained is not None
    assert diagnosis.loss.explained > 0.5
    assert "mostly explained by the features" in diagnosis.explanation


def rare(x: np.ndarray) -> np.ndarray:
    """A rule by which three in ten are of class 1."""
    return (x[0] + 0.5 * x[1] > 0.6).astype(int)


def test_a_rule_that_became_trivial_is_found_although_the_model_errs_less() -> None:
    # Labels that were wrong in 35 % of cases become 0 always: the model, which says 1 in 30 %, errs less than before.
    spec = freeze(SPEC, by_source(World(3).rows(SPEC, 2_000, label=rare, answer=rare, noise=0.35), SPEC), origin="test")
    judged = Judged(spec, 5)
    judged.feed(50, label=rare, answer=rare, noise=0.35)
    assert judged.events == []
    judged.feed(12, label=lambda x: np.zeros(x.shape[1], dtype=int), answer=rare, noise=0.0)
    assert CONCEPT in judged.firing
    assert "performance:error" not in judged.firing


def test_a_correlation_that_flips_is_seen_by_no_feature_alone(calm: Judged) -> None:
    judged = after(calm, 31, correlation=-0.6)
    assert judged.firing == {MULTIVARIATE}
    diagnosis = judged.events[-1].diagnosis
    assert diagnosis is not None
    assert diagnosis.told_apart_by[0] == "y * z"
    assert diagnosis.drifts == (DriftKind.DATA,)


def test_a_model_that_answers_otherwise_is_found_by_the_mimic(calm: Judged) -> None:
    judged = after(calm, 16, answer=lambda x: (x[0] - 0.5 * x[1] > 0).astype(int))
    assert MIMIC in judged.firing
    assert MULTIVARIATE not in judged.firing
    diagnosis = judged.events[-1].diagnosis
    assert diagnosis is not None
    assert "answers otherwise" in diagnosis.explanation


def test_a_successor_learns_on_to_the_last_bit(calm: Judged) -> None:
    one, two = (after(calm, 9, label=other) for _ in range(2))
    two.judge = ModelJudge.restore(two.judge.spec, two.judge.state())
    assert two.judge.state() == one.judge.state()
    for each in (one, two):
        each.feed(12, label=other)
    assert two.events == one.events != []
    assert two.judge.state() == one.judge.state()


def test_rows_of_a_sample_below_the_fence_are_learned_once(frozen: ModelSpec) -> None:
    once, twice = ModelJudge(frozen), ModelJudge(frozen)
    rows = World(5).rows(frozen, 2 * STEP)
    (features, _) = by_source(rows, frozen)
    whole, first = (RunningTotal(Layout(frozen), "predictions", 0) for _ in range(2))
    first.add(features.slice(0, STEP), STEP)
    begun = first.to_event()
    for judge in (once, twice):
        judge.fold(begun)
    whole.add(features, 2 * STEP)  # as after a restart: it carries all rows again
    total = whole.to_event()
    assert total.sample is not None
    late = [offset >= STEP for offset in total.sample.offsets]
    columns = {
        name: tuple(value for value, keep in zip(values, late, strict=True) if keep)
        for name, values in total.sample.columns.items()
    }
    fresh = total.sample.model_copy(
        update={
            "offsets": tuple(offset for offset in total.sample.offsets if offset >= STEP),
            "times": (0.0,) * sum(late),
            "stages": (Stage.PRODUCTION,) * sum(late),
            "columns": columns,
        }
    )
    once.fold(total.model_copy(update={"sample": fresh}))
    twice.fold(total)
    assert twice.state() == once.state()


def test_without_labels_predictions_or_features_together_there_is_no_such_surrogate() -> None:
    both = numbers("x", "y")
    asked = {"surrogates": SurrogateSpec()}
    assert spec_of(*both, **asked).surrogate_signals == (MULTIVARIATE,)
    assert spec_of(*both, prediction={"output": "score"}, **asked).surrogate_signals == (MULTIVARIATE, MIMIC)
    learning = spec_of(*both, prediction={"output": "score"}, outcomes={}, learning="continuous", **asked)
    assert learning.surrogate_signals == (CONCEPT, MULTIVARIATE)
    assert spec_of(*both, seasonality="daily", **asked).surrogate_signals == ()
    assert spec_of(*both, prediction={"output": "score"}).surrogate_signals == ()


def test_surrogates_take_their_share_of_the_budget(frozen: ModelSpec) -> None:
    plain = frozen.model_copy(update={"surrogates": None})
    assert budget_of(frozen).signals == budget_of(plain).signals + 3
    assert budget_of(frozen).threshold > budget_of(plain).threshold


def test_a_reference_without_raw_rows_says_so(frozen: ModelSpec) -> None:
    bare = frozen.reference.frozen.model_copy(update={"sample": None})  # type: ignore[union-attr]
    spec = frozen.model_copy(update={"reference": frozen.reference.model_copy(update={"frozen": bare})})
    judged = Judged(spec, 2)
    judged.feed(2)
    said = {signal.signal: signal.not_judged or "" for signal in judged.judge.status()[0].signals}
    assert "raw rows" in said[MULTIVARIATE]
    assert "labelled rows" in said[CONCEPT]
    assert "learning what the model answers" in said[MIMIC]


def test_ranks_and_indicators_have_mean_0_and_variance_1_on_the_reference() -> None:
    rng = np.random.default_rng(1)
    spec = spec_of(*numbers("x"), category("c"), surrogates=SurrogateSpec())
    values = {"x": np.exp(rng.normal(size=5_000)), "c": rng.choice(["a", "b", "c"], 5_000, p=[0.5, 0.3, 0.2]).tolist()}
    rows = Rows(Source.PREDICTIONS, np.arange(5_000), np.zeros(5_000), np.zeros(5_000, np.int8), tuple(values.values()))
    spec = freeze(spec, rows, origin="test")
    layout = Layout(spec)
    basis = Basis(spec, layout)
    table = np.column_stack([values["x"], layout.binners[1].index(values["c"])])
    single = basis.read(table)[:, 1 : basis.linear]
    assert basis.names[1 : basis.linear] == ("x", "c=a", "c=b")
    np.testing.assert_allclose(single.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(single.std(axis=0), 1, atol=0.05)


def test_a_tree_is_a_function_of_the_rows_it_keeps() -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(-127, 128, size=(300, 2)).astype(float)
    target = (codes[:, 0] > 0).astype(float)
    tree, successor = (KeptTree(2, 64, classes=2) for _ in range(2))
    tree.learn(codes[:270], target[:270])
    successor.restore(tree.state())
    assert len(tree.state()["rows"]) < 128
    for each in (tree, successor):
        each.learn(codes[270:], target[270:])
    np.testing.assert_array_equal(tree.predict(codes), successor.predict(codes))
    assert (tree.predict(codes) == target).mean() > 0.9
