"""What the reference's labels teach of the loss to expect."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from detector.calibration import FEWEST_ROWS, MOST_EFFECTS, score_threshold
from detector.layout import Layout
from detector.reference import freeze
from detector.score_bins import BINS, CUTS, MIDDLES, average_by_bin, score_bins
from schemas.model_spec import ESTIMATED_PERFORMANCE, ModelSpec, Task
from schemas.performance import Calibration
from tests.support.data import numbers, spec_of
from tests.support.pairs import classified, counted, drawn, frozen_pairs, logistic, pair_rows, regression, scored

Floats = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(6)


def calibration_of(spec: ModelSpec) -> Calibration:
    assert spec.reference.frozen is not None
    assert spec.reference.frozen.calibration is not None
    return spec.reference.frozen.calibration


# Fine bins


def test_scores_that_round_to_the_same_hundredth_share_a_bin_and_all_scores_have_one() -> None:
    assert len(set(score_bins(np.array([0.2951, 0.29, 0.3, 0.3049])).tolist())) == 2
    assert score_bins(np.array([-1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, BINS - 1, BINS - 1]
    assert score_bins(np.array([np.nan, np.inf])).tolist() == [-1, -1]


def test_bins_are_finer_towards_both_ends() -> None:
    widths = np.diff(CUTS)
    assert widths[0] == pytest.approx(1e-4)
    assert widths[-1] == pytest.approx(1e-4)
    assert np.all(np.diff(MIDDLES) > 0)


def test_a_bin_without_rows_gets_what_lies_between_its_neighbours() -> None:
    found = average_by_bin(np.array([2.0, 0.0, 0.0, 8.0]), np.array([2.0, 0.0, 0.0, 2.0]))
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0, 4.0])


# By prediction


def test_scores_are_calibrated_as_isotonic_regression_does(rng: np.random.Generator) -> None:
    x = rng.normal(size=5_000)
    scores = np.round(logistic(x), 2)
    labels = drawn(logistic(2 * x + 0.5), rng)
    spec = frozen_pairs(scored(), {"x": rng.normal(size=5_000)}, scores, labels)
    theirs = IsotonicRegression().fit(scores, [int(label) for label in labels])
    ours = np.array(calibration_of(spec).positive)[score_bins(scores)]
    np.testing.assert_allclose(ours, theirs.predict(scores), atol=1e-5)


def test_the_expected_error_follows_the_rule_that_predicted_the_class_whatever_it_was(rng: np.random.Generator) -> None:
    scores = rng.random(20_000).round(2)
    labels, predicted = drawn(scores, rng), ["1" if score >= 0.8 else "0" for score in scores]
    spec = frozen_pairs(scored(), {"x": scores}, scores, labels, predicted=predicted)
    expected = np.array(calibration_of(spec).expected)
    at = score_bins(np.array([0.6, 0.9]))
    np.testing.assert_allclose(expected[at], [0.6, 0.1], atol=0.06)


def test_the_threshold_that_was_used_is_found_where_the_usual_one_is_wrong(rng: np.random.Generator) -> None:
    scores = rng.random(5_000)
    labels = drawn(scores, rng)

    def threshold_with(used: float) -> float | None:
        predicted = ["1" if score >= used else "0" for score in scores]
        spec = frozen_pairs(scored(), {"x": scores}, scores, labels, predicted=predicted)
        return score_threshold(calibration_of(spec), 0.5)

    assert threshold_with(0.8) == pytest.approx(0.8, abs=0.01)
    assert threshold_with(0.05) == pytest.approx(0.05, abs=0.01)
    assert threshold_with(0.5) is None
    assert score_threshold(None, 0.5) is None


def test_classes_have_the_error_rate_of_their_class(rng: np.random.Generator) -> None:
    labels = [str(each) for each in rng.choice(["a", "b", "c"], 6_000)]
    wrong = {"a": 0.05, "b": 0.2, "c": 0.5}
    predicted = [label if rng.random() > wrong[label] else "a" for label in labels]
    spec = frozen_pairs(classified(), {"x": rng.normal(size=6_000)}, predicted, labels)
    layout = Layout(spec)
    errors = np.array([p != y for p, y in zip(predicted, labels, strict=True)])
    for name in "ab":
        chosen = np.array(predicted) == name
        place = layout.binners[1].index([name])[0]
        assert calibration_of(spec).expected[place] == pytest.approx(errors[chosen].mean(), abs=0.01)


def test_too_few_labels_teach_nothing(rng: np.random.Generator) -> None:
    scores = rng.random(FEWEST_ROWS - 1)
    spec = frozen_pairs(scored(), {"x": scores}, scores, drawn(scores, rng))
    assert spec.reference.frozen is not None
    assert spec.reference.frozen.calibration is None
    assert Layout(spec).expected is None


# By feature


def two_features(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[dict[str, Floats], Floats, Floats]:
    """A score that does not know that the feature ``noisy`` makes the model worse, and one that means nothing."""
    noisy, idle = rng.normal(shift, 1, n), rng.normal(size=n)
    score = np.round(logistic(2 * rng.normal(size=n)), 2)
    return {"noisy": noisy, "idle": idle}, score, np.clip(score + 0.2 * np.tanh(noisy) * np.sign(0.5 - score), 0, 1)


def test_a_feature_along_which_the_loss_differs_has_an_effect_and_no_other(rng: np.random.Generator) -> None:
    spec = spec_of(*numbers("noisy", "idle"), prediction={"output": "score"}, outcomes={})
    features, scores, p = two_features(rng, 20_000)
    spec = frozen_pairs(spec, features, scores, drawn(p, rng))
    assert set(calibration_of(spec).effects) == {"noisy"}
    effect = np.array(calibration_of(spec).effects["noisy"])[1:-3]
    assert effect[0] < -0.1 < 0.1 < effect[-1]


def test_with_effects_the_estimate_stays_right_when_the_mixture_of_rows_changes(rng: np.random.Generator) -> None:
    spec = spec_of(*numbers("noisy", "idle"), prediction={"output": "score"}, outcomes={})
    features, scores, p = two_features(rng, 20_000)
    layout = Layout(frozen_pairs(spec, features, scores, drawn(p, rng)))
    features, scores, p = two_features(rng, 20_000, shift=1.0)
    truth = np.where(scores >= 0.5, 1 - p, p).mean()
    vector = counted(layout, pair_rows(layout.spec, features, scores, drawn(p, rng)))
    estimate = layout.mean(vector, layout.signals.index(ESTIMATED_PERFORMANCE))
    bins = np.array(calibration_of(layout.spec).expected)[score_bins(scores)].mean()
    assert estimate == pytest.approx(truth, abs=0.01)
    assert abs(bins - truth) > 0.05


def test_not_more_features_than_a_row_can_be_looked_up_in_have_effects(rng: np.random.Generator) -> None:
    names = [f"f{i}" for i in range(MOST_EFFECTS + 3)]
    columns = {name: rng.normal(size=4_000) for name in names}
    label = sum(columns.values()) ** 2  # type: ignore[operator]
    spec = spec_of(*numbers(*names), task=Task.REGRESSION, prediction={"output": "number"}, outcomes={})
    spec = frozen_pairs(spec, columns, np.zeros(4_000), label)
    assert 0 < len(calibration_of(spec).effects) <= MOST_EFFECTS


def test_features_on_a_stream_of_their_own_have_no_effect(rng: np.random.Generator) -> None:
    features, scores, p = two_features(rng, 5_000)
    apart = spec_of(*numbers("noisy", "idle"), prediction={"output": "score"}, outcomes={}, features_from="features")
    rows = pair_rows(apart, features, scores, drawn(p, rng))
    assert calibration_of(freeze(apart, rows, origin="test")).effects == {}


# Numbers


def test_the_expected_error_of_a_number_follows_its_bin_and_features(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 10, 20_000)
    spec = frozen_pairs(regression(), {"x": x}, x, x + rng.normal(size=20_000) * (1 + x))
    layout = Layout(spec)
    vector = counted(layout, pair_rows(spec, {"x": np.full(500, 9.0)}, np.full(500, 9.0), np.full(500, 9.0)))
    expected = layout.mean(vector, layout.signals.index(ESTIMATED_PERFORMANCE))
    assert expected == pytest.approx(10 * np.sqrt(2 / np.pi), rel=0.1)
