"""The examples: their specs are specs, what they send is an event, and they name files that are there."""

from __future__ import annotations

import ast
import importlib.util
import random
import re
from pathlib import Path
from types import ModuleType

import pytest

from agents.spec_file import read_spec
from schemas import codec, export
from schemas.inbound import OutcomeEvent, PredictionBatch, PredictionEvent
from schemas.model_spec import FeatureType, ModelSpec
from tests.support.drift_events import drift_event, verdict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SPECS = sorted((EXAMPLES / "specs").glob("*.yaml"))
SCRIPTS = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("subscribers/*.py")])
MANIFESTS = sorted(EXAMPLES.glob("subscribers/argo/*.yaml"))


def load(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def churn() -> ModelSpec:
    return read_spec(EXAMPLES / "specs" / "churn.yaml")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_is_one_and_collects_its_reference_from_the_stream(path: Path) -> None:
    spec = read_spec(path)
    assert spec.reference.frozen is None
    assert spec.model == path.stem


def test_the_page_names_every_example_and_nothing_else() -> None:
    page = (EXAMPLES / "README.md").read_text()
    linked = {EXAMPLES / target for target in re.findall(r"\]\(([^)]+)\)", page)}
    assert linked == {*SPECS, *SCRIPTS, *MANIFESTS, EXAMPLES / "subscribers"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_how_it_is_run(path: Path) -> None:
    says = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"python examples/{path.relative_to(EXAMPLES)}" in says


def test_the_predictions_sent_are_events_with_the_features_of_the_spec() -> None:
    answer, rng = load("produce_predictions").answer, random.Random(0)
    for row in range(200):
        event = PredictionEvent.model_validate(answer(row, 100, rng))
        assert event.score is not None
        assert set(event.features or {}) == {feature.name for feature in churn().features}
        for feature in churn().features:
            value = (event.features or {})[feature.name]
            assert value is None or isinstance(value, bool) == (feature.type is FeatureType.BOOLEAN)


def test_customers_are_older_behind_the_row_that_was_asked_for() -> None:
    answer, rng = load("produce_predictions").answer, random.Random(0)
    ages = [answer(row, 500, rng)["features"]["age"] for row in range(1_000)]
    assert sum(ages[500:]) / 500 - sum(ages[:500]) / 500 == pytest.approx(10, abs=2)


def test_the_labels_sent_are_outcomes_of_the_predictions_sent() -> None:
    rng = random.Random(0)
    for row in range(50):
        sent, answer = load("produce_outcomes").outcome(row, rng), load("produce_predictions").answer(row, 100, rng)
        event = OutcomeEvent.model_validate(sent)
        assert (event.model, event.prediction_id) == (answer["model"], answer["prediction_id"])
        assert event.time is not None
        assert event.time.isoformat() > answer["time"]


def test_the_batches_sent_are_events() -> None:
    event = PredictionBatch.model_validate(load("produce_batches").batch(3, 50, random.Random(0)))
    assert event.rows == 50
    assert set(event.features or {}) == {feature.name for feature in churn().features}


def test_an_alert_is_triggered_and_resolved_under_one_key() -> None:
    page = load("subscribe_drift_events").page
    event = codec.decode(export.EVENTS["DriftEvent"], export.example("DriftEvent").encode())
    content = event.model_dump(mode="json")
    firing, resolved = page(content), page({**content, "status": "resolved"})
    assert (firing["action"], resolved["action"]) == ("trigger", "resolve")
    assert firing["dedup_key"] == resolved["dedup_key"]


def test_an_alert_names_only_the_signals_that_still_drift() -> None:
    event = drift_event(signals=(verdict("feature:a"), verdict("feature:b", tier="none")))
    assert load("subscribe_drift_events").page(event.model_dump(mode="json"))["drifted"] == ["feature:a"]
