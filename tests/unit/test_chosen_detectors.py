"""River's detectors in the place of evidence: an alarm is one key, the score stays the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.spec_file import SpecFileError, parse_spec, render_spec
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Rows, Source
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent, Tier
from schemas.performance import OutcomeSpec
from tests.support.data import MONDAY, numbers, rows_of, spec_of

STEP = 32
CHOSEN = {"performance:error": {"name": "adwin"}}
PLAIN = spec_of(*numbers("x"), prediction={"output": "score"}, outcomes=OutcomeSpec())


def outcomes(spec: ModelSpec, wrong: float, count: int, seed: int, start: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    losses = np.where(rng.uniform(size=count) < wrong, "true", "false").tolist()
    columns: dict[str, Any] = {"label": ["1"] * count, "performance:error": losses}
    times = MONDAY + np.arange(start, start + count)
    return rows_of(spec, columns, source=Source.OUTCOMES, offsets=range(start, start + count), times=times)


def frozen(spec: ModelSpec = PLAIN, **detectors: Any) -> ModelSpec:
    rng = np.random.default_rng(1)
    spec = ModelSpec.model_validate(spec.model_dump() | {"detectors": detectors or CHOSEN})
    predictions = rows_of(spec, {"feature:x": rng.normal(size=2_000), "prediction": rng.uniform(size=2_000)})
    return freeze(spec, [predictions, outcomes(spec, 0.2, 2_000, seed=2)], origin="test")


def judged(judge: ModelJudge, rates: list[tuple[float, int]]) -> list[DriftEvent]:
    """Judge steps of outcomes with these rates of errors."""
    total, events, start = RunningTotal(Layout(judge.spec), "outcomes", 0), [], 0
    for number, (rate, steps) in enumerate(rates):
        for step in range(steps):
            rows = outcomes(judge.spec, rate, STEP, seed=100 * number + step, start=start)
            start += STEP
            total.add(rows, start)
            events += judge.fold(total.to_event())
    return events


def test_an_alarm_with_a_large_score_opens_an_incident_that_names_the_detector() -> None:
    event = judged(ModelJudge(frozen()), [(0.2, 40), (0.6, 20)])[0]
    (verdict,) = event.signals
    assert (verdict.signal, verdict.detector, event.tier) == ("performance:error", "adwin", Tier.SIGNIFICANT)
    assert verdict.evidence == verdict.threshold
    assert "alarm of adwin" in event.summary


def test_an_alarm_with_a_small_score_raises_no_tier() -> None:
    # ADWIN alarms at an improvement too, and a loss that falls has no score.
    judge = ModelJudge(frozen())
    assert judged(judge, [(0.2, 60), (0.02, 60)]) == []


def test_the_evidence_of_the_engine_does_not_count_where_a_detector_was_chosen() -> None:
    deaf = frozen(**{"performance:error": {"name": "adwin", "parameters": {"delta": 1e-300}}})
    assert judged(ModelJudge(deaf), [(0.2, 40), (0.4, 20)]) == []
    assert judged(ModelJudge(freeze_plain()), [(0.2, 40), (0.4, 20)])


def freeze_plain() -> ModelSpec:
    rng = np.random.default_rng(1)
    predictions = rows_of(PLAIN, {"feature:x": rng.normal(size=2_000), "prediction": rng.uniform(size=2_000)})
    return freeze(PLAIN, [predictions, outcomes(PLAIN, 0.2, 2_000, seed=2)], origin="test")


def test_a_successor_goes_on_with_the_saved_detector_to_the_last_bit() -> None:
    spec = frozen()
    judge = ModelJudge(spec)
    judged(judge, [(0.2, 37)])
    successor = ModelJudge.restore(spec, judge.state())
    assert successor.state() == judge.state()
    assert judged(successor, [(0.2, 37), (0.6, 20)]) == judged(judge, [(0.2, 37), (0.6, 20)]) != []


def test_a_spec_without_detectors_keeps_its_hash() -> None:
    assert "detectors" in PLAIN.model_dump()
    assert spec_of(*numbers("x")).hash == spec_of(*numbers("x"), detectors={}, outcomes=None).hash
    assert frozen().hash != freeze_plain().hash


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{prediction: {name: adwind}}", "adwind"),
        ("{feature:y: {name: adwin}}", "this model has no signal 'feature:y': did you mean feature:x?"),
        ("{prediction: {name: adwin, parameters: {delte: 0.1}}}", "did you mean delta?"),
        ("{prediction: {name: adwin, parameters: {delta: 2}}}", "detectors.prediction.parameters.delta"),
        ("{feature:x: {name: ddm}}", "ddm reads zeros and ones, and feature:x is a number"),
    ],
)
def test_what_is_wrong_about_a_detector_is_one_line_with_the_fix(written: str, said: str) -> None:
    text = render_spec(PLAIN).replace("detectors: {}", f"detectors: {written}")
    with pytest.raises(SpecFileError, match="detectors") as error:
        parse_spec(text, "spec.yaml")
    assert said in str(error.value)
    assert str(error.value).startswith("spec.yaml:")
    assert len(str(error.value).splitlines()) == 1


def test_a_detector_may_be_chosen_for_what_depends_on_labels() -> None:
    text = render_spec(PLAIN).replace("detectors: {}", "detectors: {'performance:error': {name: hddm_w}}")
    assert parse_spec(text, "spec.yaml").detectors["performance:error"].name == "hddm_w"
