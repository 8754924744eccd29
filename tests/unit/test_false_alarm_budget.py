"""The false-alarm budget, on streams that are as unpleasant as real ones."""

from __future__ import annotations

import pytest
from scipy import stats

from bench.false_alarms import Job, Told, panes_of, play, summarise
from bench.judging import judge, prepare, spec_of
from bench.streams import CASES, Case, Kind, make
from bench.untuned import RIVALS
from detector.layout import Layout
from detector.monitor import Monitor
from detector.reference import freeze
from detector.rows import Rows, Source
from detector.steps import PaneCounts
from schemas.model_spec import Stage
from schemas.outbound import Change, Pane


def told(case: str, streams: int) -> dict[str, float]:
    rows = summarise(case, play(Job(case, range(1_000, 1_000 + streams), ())))
    return rows[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    ["independent rows", "AR(1), rho 0.9", "30 days, daily season", "AR(1), shuffled"],
)
def test_a_budget_of_one_alarm_leaves_nearly_all_of_twenty_streams_silent(case: str) -> None:
    row = told(case, 20)
    # Were the share of streams with an alarm above 10 %, three or more of twenty would be no surprise; five are.
    assert row["with_alarm"] <= stats.binom.ppf(0.99, 20, 0.1)
    assert row["not_judged"] == 0
    assert row["found"] == 1
    assert case != "independent rows" or row["delay_1sd"] < 200


@pytest.mark.slow
def test_a_short_and_bursty_reference_is_judged_and_raises_no_more() -> None:
    row = told("bursts, reference of 500", 20)
    assert row["not_judged"] == 0
    assert row["with_alarm"] <= stats.binom.ppf(0.99, 20, 0.1)


@pytest.mark.parametrize("kind", [Kind.INDEPENDENT, Kind.SEASONAL])
def test_a_stream_judged_beside_others_is_judged_as_by_its_own_monitor(kind: Kind) -> None:
    case, stable, shifted = Case(kind, reference=2_000, features=3), 150, 60
    streams = [make(case, seed, stable, shifted) for seed in range(3)]
    verdicts = judge([prepare(stream, stable) for stream in streams], stable)
    for stream, verdict in zip(streams, verdicts, strict=True):
        spec = freeze(spec_of(case, stable), stream.reference, origin="reference")
        layout = Layout(spec)
        monitor, opened = Monitor(spec, layout, Stage.PRODUCTION), []
        for pane, time in enumerate(stream.pane_times.tolist()):
            rows = slice(pane * case.pane_rows, (pane + 1) * case.pane_rows)
            columns = tuple(column[rows] for column in stream.live)
            offsets = stream.reference.offsets[: case.pane_rows]
            times = stream.reference.times[: case.pane_rows] * 0 + time if kind is Kind.SEASONAL else offsets * 0.0
            part = Rows(Source.PREDICTIONS, offsets, times, stream.reference.stages[: case.pane_rows], columns)
            vectors = {phase: vector for (_, phase), vector in layout.count(part).parts.items()}
            name = Pane(topic="t", partition=0, from_offset=0, to_offset=1, rows=case.pane_rows)
            events = monitor.observe(PaneCounts(name, vectors, time), ())
            opened += [pane for event in events if event.change is Change.OPENED]
        assert [pane for pane in opened if pane < stable] == (
            [] if verdict.alarmed_at is None else [verdict.alarmed_at]
        )
        behind = [(pane + 1 - stable) * case.pane_rows for pane in opened if pane >= stable]
        assert (behind[0] if behind else None) == verdict.delay_rows
        assert behind


def test_the_first_features_of_a_wide_stream_are_those_of_a_narrow_one() -> None:
    narrow, wide = (make(Case(features=features), 7, 4, 1) for features in (1, 3))
    assert narrow.live[0].tolist() == wide.live[0].tolist()  # type: ignore[union-attr]


def test_every_case_has_at_least_2000_windows_of_enough_rows() -> None:
    for case in CASES.values():
        stable, _ = panes_of(case)
        assert stable * case.pane_rows >= 2_000 * 32


def test_a_median_delay_counts_the_streams_that_never_found_the_shift() -> None:
    some = [Told("driftline", False, delay) for delay in (32, 64, None)]
    assert summarise("case", some)[0]["delay_1sd"] == 64
    most = [Told("driftline", True, delay) for delay in (32, None, None)]
    row = summarise("case", most)[0]
    assert row["delay_1sd"] is None
    assert row["share"] == 1.0
    assert row["lower"] == pytest.approx(stats.beta.ppf(0.025, 3, 1), abs=1e-4)  # Clopper and Pearson 1934


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_rival_finds_a_shift_of_the_first_feature(name: str) -> None:
    stream = make(Case(features=1), 3, 100, 200)
    _, delay = RIVALS[name](stream, 100 * 32)
    assert delay is not None
