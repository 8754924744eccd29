"""What a spec may ask of labels, and what it is told where it asks too much."""

from __future__ import annotations

from typing import Any

import pytest

from agents.spec_file import SpecFileError, parse_spec, render_spec
from schemas.model_spec import ModelSpec
from schemas.performance import LOSS_TIERS, LOSSES_OF, METRICS_OF, Loss, LossTiers, Metric, OutcomeSpec
from tests.support.data import numbers, spec_of


def spec_with(task: str, output: str | None, **outcomes: Any) -> ModelSpec:
    prediction = None if output is None else {"output": output}
    return spec_of(*numbers("x"), task=task, prediction=prediction, outcomes=outcomes)


@pytest.mark.parametrize(("task", "output"), LOSSES_OF)
def test_every_loss_and_limit_of_the_registries_can_be_asked_for(task: str, output: str) -> None:
    spec = spec_with(task, output, losses=LOSSES_OF[task, output], limits=dict.fromkeys(METRICS_OF[task, output], 0.5))
    assert set(spec.losses) == set(LOSSES_OF[task, output])


def test_the_basic_loss_is_always_watched_and_comes_first() -> None:
    spec = spec_with("binary", "score", losses=["log_loss"])
    assert spec.losses == (Loss.ERROR, Loss.LOG_LOSS)
    assert spec.signals[-4:] == ("label", "performance:error", "performance:log_loss", "estimated_performance")
    assert spec_with("binary", "score", losses=["brier", "error"]).losses == (Loss.ERROR, Loss.BRIER)


def test_without_a_prediction_no_loss_is_watched_and_nothing_estimated() -> None:
    spec = spec_with("binary", None)
    assert (spec.loss, spec.losses, spec.estimates) == (None, (), False)


@pytest.mark.parametrize(
    ("task", "output", "outcomes", "told"),
    [
        ("binary", "score", {"losses": ["pinball"]}, "outcomes.losses: pinball cannot be computed.*choose among error"),
        ("binary", "class", {"losses": ["log_loss"]}, "or set prediction.output to score"),
        ("binary", "class", {"limits": {"auc": 0.7}}, "outcomes.limits: auc.*or set prediction.output to score"),
        ("regression", "number", {"limits": {"accuracy": 0.7}}, "choose among mae, mse, rmse, pinball$"),
        ("multiclass", "score", {"limits": {"f1": 0.7}}, "choose among accuracy, calibration_error$"),
        ("binary", None, {"limits": {"accuracy": 0.7}}, "say under `prediction` what the model answers"),
        ("binary", "score", {"limits": {"accuracy": 80}}, "lies between 0 and 1, as in 0.8: 80 does not"),
        ("regression", "number", {"limits": {"mae": 0}}, "is positive: 0 is not"),
        ("binary", "score", {"losses": ["brier", "brier"]}, "losses named twice: brier"),
        ("binary", "score", {"tiers": {"mae": {}}}, "tiers"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_can(task: str, output: str, outcomes: Any, told: str) -> None:
    with pytest.raises(ValueError, match="(?m)" + told.replace("$", r"( \[|$)")):
        spec_with(task, output, **outcomes)


def test_tiers_are_those_given_or_the_defaults_of_the_loss() -> None:
    own = LossTiers(minor=0.01, moderate=0.02, significant=0.03)
    outcomes = OutcomeSpec(tiers={Loss.MISS: own})
    assert outcomes.tiers_of(Loss.MISS) is own
    assert outcomes.tiers_of(Loss.ERROR) is LOSS_TIERS[Loss.ERROR]


def test_a_spec_with_losses_and_limits_reads_back_from_its_file_as_it_was() -> None:
    spec = spec_with("binary", "score", losses=["miss"], limits={"auc": 0.7}, tiers={"error": LOSS_TIERS[Loss.ERROR]})
    assert parse_spec(render_spec(spec), "m.yaml").hash == spec.hash


def test_a_fault_in_a_file_names_the_field_and_the_fix() -> None:
    text = render_spec(spec_with("binary", "score")).replace("  losses: []", "  losses: [recall]")
    with pytest.raises(SpecFileError, match=r"outcomes\.losses\[0\]: 'recall' is none of 'error'.*'miss'"):
        parse_spec(text, "m.yaml")


def test_a_spec_without_outcomes_has_the_hash_that_it_had_before_there_were_any() -> None:
    spec = spec_of(*numbers("x"), prediction={"output": "score"})
    assert spec.hash == "07c79fffc3434afd705ce0f2443e3b76ae15971e522b3edd1fea5636becdd68f"


def test_limits_name_metrics_and_losses_name_losses() -> None:
    assert {Metric.LOG_LOSS.value, Metric.BRIER.value, Metric.PINBALL.value} < {loss.value for loss in Loss}
