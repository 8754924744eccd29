"""The service beside the data and the model: latencies, errors and timeouts of prediction events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.judge import ModelJudge
from detector.layout import Layout
from detector.quality.service import BINS, EDGES, KNOWN, SLOW, TIMED, WIDTH, ServiceCounter
from detector.reference import freeze
from detector.rows import ANSWERED, Rows
from schemas.inbound import PredictionBatch, PredictionEvent
from schemas.outbound import DriftKind, Family
from schemas.quality import Answered, ServiceSpec
from tests.support.data import numbers, spec_of
from tests.support.decoding import decode, details, rows_in
from tests.support.faults import checked_model, judged_with, sound_rows

SERVED = spec_of(*numbers("x"), prediction={"output": "score"}, service={})
SPEC = checked_model(quality=None, service=ServiceSpec(slow_ms=100.0))


def served(rows: Rows, *, latency: float = 20.0, failed: Answered = Answered.ERROR, share: float = 0.0) -> Rows:
    """Rows whose requests took about so many milliseconds, a share of which failed."""
    rng = np.random.default_rng(11)
    status = np.where(rng.uniform(size=len(rows)) < share, ANSWERED.index(failed), 0)
    return replace(rows, service=np.stack([latency * rng.lognormal(0.0, 0.3, len(rows)), status], axis=1))


def test_a_healthy_service_raises_nothing_and_its_quantiles_are_told() -> None:
    found = judged_with(SPEC, served, faulty=3_200)
    assert found.events == []
    (status,) = found.judge.status()
    assert status.service is not None
    assert status.service.latency_p50_ms == pytest.approx(20.0, rel=0.2)
    assert status.service.latency_p99_ms == pytest.approx(20.0 * np.exp(0.3 * 2.326), rel=0.2)
    assert (status.service.errors, status.service.timeouts) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("signal", "settings"),
    [
        ("service:errors", {"share": 0.2}),
        ("service:timeouts", {"share": 0.2, "failed": Answered.TIMEOUT}),
        ("service:latency", {"latency": 90.0}),
    ],
)
def test_a_fault_of_the_service_is_named_and_is_an_incident_of_its_own(signal: str, settings: dict[str, float]) -> None:
    found = judged_with(SPEC, lambda rows: served(rows, **settings))
    assert found.firing == {signal}
    assert {event.family for event in found.events} == {Family.SERVICE}
    assert found.events[0].signals[0].kind is DriftKind.SERVICE
    assert signal in {each.signal for each in found.judge.status()[0].signals}


def test_the_reference_tells_the_rates_where_it_knows_them() -> None:
    spec = checked_model(quality=None, service=ServiceSpec())
    known = served(sound_rows(2_000, seed=1), share=0.3)
    found = judged_with(freeze(spec, known, origin="test"), lambda rows: served(rows, share=0.3))
    assert found.events == []


def test_the_report_goes_on_after_a_restart() -> None:
    judge = judged_with(SPEC, served, sound=0, faulty=320).judge
    assert ModelJudge.restore(SPEC, judge.state()).status() == judge.status()


def test_each_latency_is_in_one_bin_and_those_that_are_none_in_no_bin() -> None:
    latencies = np.array([0.0, 0.125, 1.0, 99.9, 100.0, 1e9, -1.0, np.nan, np.inf])
    rows = sound_rows(len(latencies), seed=1)
    rows = replace(rows, service=np.stack([latencies, np.full(len(latencies), np.nan)], axis=1))
    counted = ServiceCounter(100.0, ServiceSpec()).count(rows, {}).sum(axis=1)
    assert (counted[KNOWN], counted[TIMED], counted[SLOW]) == (0, 6, 2)
    assert counted[BINS:].sum() == 6
    assert counted[BINS] == 1
    assert counted[BINS + len(EDGES)] == 1


def test_rows_of_which_nothing_is_known_count_nothing() -> None:
    layout = Layout(SPEC)
    assert not sum(layout.count(sound_rows(10, seed=1)).parts.values())[-WIDTH:].any()


# ---------------------------------------------------------------------------------------------------- on the wire


def test_latency_and_status_are_read_from_events_and_batches_alike() -> None:
    event = {"model": "m", "version": "1", "features": {"x": 1.0}}
    batch = event | {"rows": 2, "features": {"x": [1.0, 2.0]}, "score": [0.5, None]}
    rows = rows_in(
        SERVED,
        event | {"score": 0.5, "latency_ms": 4, "status": "ok"},
        event | {"score": 0.5},
        batch | {"latency_ms": [7.5, None], "status": ["ok", "timeout"]},
    )
    assert rows.service is not None
    np.testing.assert_array_equal(rows.service, [[4, 0], [np.nan, np.nan], [7.5, 0], [np.nan, 2]])


@pytest.mark.parametrize("spec", [SERVED, spec_of(*numbers("x"), prediction={"output": "score"})])
def test_a_request_that_failed_needs_no_answer(spec: object) -> None:
    failed = {"model": "m", "version": "1", "features": {"x": 1.0}, "status": "error"}
    assert PredictionEvent(**failed).status is Answered.ERROR
    decoded = decode(spec, failed, failed | {"status": "ok"}, failed | {"features": {"x": "?"}})  # type: ignore[arg-type]
    assert sum(len(rows) for _, rows in decoded.rows) == 2
    assert "needs `prediction`, `score` or `probabilities`" in details(decoded.letters)[0]


def test_words_that_are_no_status_are_not_known() -> None:
    event = {"model": "m", "version": "1", "features": {"x": 1.0}, "score": 0.5}
    rows = rows_in(SERVED, event | {"status": "fine", "latency_ms": "fast"}, event | {"status": 3})
    assert rows.service is not None
    assert np.isnan(rows.service[:, 1]).all()


def test_a_status_column_of_another_length_is_refused() -> None:
    batch = {"model": "m", "version": "1", "rows": 2, "features": {"x": [1.0, 2.0]}, "score": [0.5, 0.5]}
    with pytest.raises(ValueError, match="'status' has 1 entries"):
        PredictionBatch(**batch, status=["ok"])
    assert "`status` has 1 entries" in details(decode(SERVED, batch | {"status": ["ok"]}).letters)[0]
