"""driftline on many streams of one case side by side: one engine judges the signals of all of them.

A step of the engine costs 2 ms however few signals it has, and 0.07 ms for each more. Signals do not know of each
other, so streams that close their steps together can share one; a test holds it against the monitor of one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.streams import DAY_S, DAYS, STEP_S, Case, Kind, Stream
from detector.budget import threshold_of
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.readings import SignalBaseline
from detector.reference import baselines, freeze
from detector.season import Season
from detector.steps import StepClock
from detector.tiers import Tiers
from schemas.model_spec import FalseAlarmBudget, FeatureSpec, ModelSpec, Seasonality, StepSpec, Task
from schemas.outbound import Tier

Floats = NDArray[np.float64]

MIN_ROWS: Final = StepSpec().min_rows
"""Of a step."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one stream."""

    alarmed_at: int | None
    """Pane in which the first incident opened before the shift."""
    delay_rows: int | None
    """Rows after the shift until an incident opened; None where none did, or one was open."""
    not_judged: float
    """Share of its signals of which there was no verdict when the shift came."""


def spec_of(case: Case, stable: int) -> ModelSpec:
    """Write the spec of a stream's model: the budget is one false alarm in its stable panes."""
    between = DAYS * DAY_S / stable if case.kind is Kind.SEASONAL else STEP_S
    panes_a_step = -(-MIN_ROWS // case.pane_rows)
    return ModelSpec(
        model="stable",
        version="1",
        task=Task.BINARY,
        features=tuple(FeatureSpec(name=f"f{i}", type=case.feature(i).type) for i in range(case.features)),
        seasonality=Seasonality.DAILY if case.kind is Kind.SEASONAL else Seasonality.NONE,
        false_alarms=FalseAlarmBudget(count=1, per=timedelta(seconds=stable * between)),
        steps=StepSpec(min_interval=timedelta(seconds=between * panes_a_step)),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stream reduced to what is judged: counts (panes, B) of each signal, and what they are compared with."""

    case: Case
    spec: ModelSpec
    references: list[SignalBaseline]
    pane_times: Floats
    counts: list[NDArray[np.int64]]


def prepare(stream: Stream, stable: int) -> Prepared:
    """Freeze the reference of a stream and count its panes, of which ``stable`` come before the shift."""
    spec = freeze(spec_of(stream.case, stable), stream.reference, origin="reference")
    layout, panes = Layout(spec), len(stream.pane_times)
    pane = np.repeat(np.arange(panes), stream.case.pane_rows)
    counts = []
    for binner, column in zip(layout.binners, stream.live, strict=True):
        flat = np.bincount(pane * binner.width + binner.index(column), minlength=panes * binner.width)
        counts.append(flat.reshape(panes, binner.width))
    return Prepared(stream.case, spec, baselines(spec, layout), stream.pane_times, counts)


def judge(streams: Sequence[Prepared], stable: int) -> list[Verdict]:
    """Judge streams of one case side by side; the shift comes behind ``stable`` panes."""
    first, many = streams[0], len(streams)
    spec, rows = first.spec, first.case.pane_rows
    threshold = threshold_of(spec)
    references = [each for stream in streams for each in stream.references]
    columns = [column for stream in streams for column in stream.counts]
    engine = EvidenceEngine(references, log_threshold=threshold)
    tiers = Tiers(references, log_threshold=threshold, quiet_steps=spec.tiers.quiet_steps)
    clock = StepClock(spec.steps)
    phases = _phases(first)

    alarmed_at: list[int | None] = [None] * many
    delays: list[int | None] = [None] * many
    not_judged = [0.0] * many
    was_open = np.zeros(many, dtype=np.bool_)
    begin = 0
    for pane, time in enumerate(first.pane_times.tolist()):
        clock.advance(time)
        if not clock.closes((pane + 1 - begin) * rows):
            continue
        clock.restart()
        step, begin = slice(begin, pane + 1), pane + 1
        parts = {
            int(phase): [column[step][phases[step] == phase].sum(axis=0) for column in columns]
            for phase in np.unique(phases[step])
        }
        readings = engine.step(parts)
        for index, tier in tiers.update(readings).items():
            engine.reset(index, above=tier.rank)
        if pane < stable:
            silent = np.array([reading.not_judged is not None for reading in readings])
            not_judged = silent.reshape(many, -1).mean(axis=1).tolist()
        is_open = np.array([tier is not Tier.NONE for tier in tiers.current]).reshape(many, -1).any(axis=1)
        for stream in np.flatnonzero(is_open & ~was_open).tolist():
            if pane >= stable and delays[stream] is None:
                delays[stream] = (pane + 1 - stable) * rows
            elif pane < stable and alarmed_at[stream] is None:
                alarmed_at[stream] = pane
        was_open = is_open
    return [Verdict(*each) for each in zip(alarmed_at, delays, not_judged, strict=True)]


def _phases(stream: Prepared) -> NDArray[np.int64]:
    """The phase of each pane, whose rows all have one time."""
    if stream.spec.seasonality is Seasonality.NONE:
        return np.full(len(stream.pane_times), WHOLE)
    return Season(stream.spec.seasonality, stream.spec.timezone).phase_of(stream.pane_times)
