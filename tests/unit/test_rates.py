"""Rates of bad rows: declared once, counted once, judged on the worse side alone."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evidence import EvidenceEngine
from detector.layout import Layout
from detector.quality import checks
from detector.quality.counters import RowCounter
from detector.quality.rates import COSTS, Rate, RateReader
from detector.readings import SignalBaseline
from detector.rows import Rows
from schemas.outbound import Family
from schemas.quality import USUAL_TIERS, Check, QualitySpec, RateTiers
from tests.support.faults import AMOUNT, checked_model, in_some, judged_with, sound_rows, with_column


def test_a_rate_is_read_off_the_places_of_a_vector() -> None:
    rates = [
        Rate("quality:a", Family.QUALITY, USUAL_TIERS, bad=(3,), rows=(0, 1, 2, 3), what="missing"),
        Rate("quality:b", Family.QUALITY, USUAL_TIERS, bad=(1, 2), rows=(1, 2, 4), what="odd"),
    ]
    assert RateReader(rates).read(np.array([10, 20, 30, 5, 1])).tolist() == [[60, 5], [1, 50]]


def engine(bad: int, rows: int, tiers: tuple[float, float, float] = (0.02, 0.05, 0.1)) -> EvidenceEngine:
    phases = {-1: np.array([rows - bad, bad])}
    return EvidenceEngine([SignalBaseline("r", phases, True, 1.0, True, tiers, COSTS, is_rate=True)], log_threshold=15)


def evidence_of(detector: EvidenceEngine, rate: float, steps: int, seed: int = 1) -> float:
    rng = np.random.default_rng(seed)
    bad = rng.binomial(32, rate, steps)
    return max(detector.step({0: [np.array([32 - each, each])]})[0].evidence[0] for each in bad.tolist())


@pytest.mark.parametrize("reference", [0, 20, 500])
def test_a_rate_that_was_rare_or_not_is_found_risen_by_five_in_a_hundred(reference: int) -> None:
    assert evidence_of(engine(reference, 5_000), reference / 5_000 + 0.05, 300) > 15


@pytest.mark.parametrize("reference", [0, 20, 500])
def test_a_rise_below_half_of_the_tier_is_never_evidence(reference: int) -> None:
    assert evidence_of(engine(reference, 5_000), reference / 5_000 + 0.009, 500) < 12


def test_a_rate_that_falls_is_no_fault() -> None:
    assert evidence_of(engine(1_000, 5_000), 0.0, 300) < 2


def test_what_never_happened_in_a_small_reference_may_happen_now_and_then() -> None:
    assert evidence_of(engine(0, 300), 0.005, 500) < 5


def test_a_declared_counter_becomes_a_signal_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(rows: Rows) -> tuple[np.ndarray, np.ndarray] | None:
        amount = rows.columns[AMOUNT]
        return None if amount is None else (np.asarray(amount) > 400, np.isfinite(np.asarray(amount)))

    counter = RowCounter("quality:rule:cap", Family.QUALITY, USUAL_TIERS, "above the cap", too_large)
    monkeypatch.setattr(checks, "COUNTERS", (lambda *_: [counter],))
    spec = checked_model(quality=QualitySpec(checks=()))
    rows = sound_rows(1_000, seed=4)
    amounts = np.asarray(rows.columns[AMOUNT])
    vector = sum(Layout(spec).count(rows).parts.values())
    (counted,) = RateReader(Layout(spec).rates).read(vector)
    assert counted.tolist() == [(amounts <= 400).sum(), (amounts > 400).sum()]

    def above(rows: Rows) -> Rows:
        return with_column(rows, AMOUNT, in_some(np.asarray(rows.columns[AMOUNT]), 0.1, 401))

    found = judged_with(spec, above)
    assert found.firing & {"quality:rule:cap"}
    (opened,) = [event for event in found.events if event.family is Family.QUALITY and event.change == "opened"]
    assert "above the cap" in opened.summary


def test_a_source_that_says_nothing_of_a_counter_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = RowCounter("quality:x", Family.QUALITY, USUAL_TIERS, "odd", lambda _: None)
    monkeypatch.setattr(checks, "COUNTERS", (lambda *_: [counter],))
    layout = Layout(checked_model(quality=QualitySpec(checks=())))
    assert sum(layout.count(sound_rows(10, seed=4)).parts.values())[-2:].tolist() == [0, 0]


def test_specs_without_quality_keep_their_layout_and_their_hash() -> None:
    spec = checked_model(quality=None)
    assert Layout(spec).rates == ()
    assert "quality" not in spec.model_dump(exclude={"quality"})
    assert spec.hash == spec.model_copy(update={"quality": None}).hash
    assert spec.hash != spec.model_copy(update={"quality": QualitySpec()}).hash


def test_a_feature_has_the_checks_that_can_happen_to_its_type() -> None:
    signals = [rate.signal for rate in Layout(checked_model(quality=QualitySpec(checks=tuple(Check)[:4]))).rates]
    assert {"quality:unseen:plan", "quality:out_of_range:amount"} <= set(signals)
    assert not {"quality:out_of_range:plan", "quality:unseen:amount"} & set(signals)


def test_tiers_of_a_rate_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="minor <= moderate <= significant"):
        RateTiers(minor=0.1, moderate=0.05, significant=0.2)
