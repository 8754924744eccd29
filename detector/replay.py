"""Recomputes the last step of an event from its rows: the score that it came to, and its factor of the evidence.

Where the cuts of all steps since the first are known, and their rows are still there, everything is recomputed from
nothing, the evidence before the last step too.

The step moves a signal's evidence by what its rows say of bets that were made before; so the bets (in the event's
lineage), the reference (in the spec) and the rows (in the log) give the same numbers again, to the last digit where the
same numpy runs on the same kind of processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detector.budget import threshold_of
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.limits import Limits
from detector.lineage import SURROGATE, State, Subject, evidence_of, limits_of, read_state, with_part
from detector.monitor import Monitor
from detector.profile import Profile, Vector
from detector.quality.rates import RateReader
from detector.quality.watch import rate_baselines
from detector.ragged import Ragged
from detector.readings import SignalBaseline
from detector.reference import baselines
from detector.steps import PaneCounts
from schemas.lineage import StepEvidence
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import Step

Evidence = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One signal: what the event told, and what its rows give now.

    Attributes
    ----------
    before, after, score
        As in `StepEvidence`; None where nothing was recomputed.
    why_not
        Why nothing was.
    """

    told: StepEvidence
    before: Evidence | None = None
    after: Evidence | None = None
    score: float | None = None
    why_not: str | None = None

    @property
    def is_equal(self) -> bool | None:
        """Whether every number is the same, to the last digit; None where nothing was recomputed."""
        if self.why_not is not None:
            return None
        return (self.before, self.after, self.score) == (self.told.before, self.told.after, self.told.score)

    @property
    def difference(self) -> float:
        """The largest difference of a number to the one told, as a share of it; 0 where nothing was recomputed."""
        if self.before is None or self.after is None or self.score is None:
            return 0.0
        told = np.array([*self.told.before, *self.told.after, self.told.score])
        now = np.array([*self.before, *self.after, self.score])
        return float((np.abs(now - told) / np.maximum(np.abs(told), 1e-300))[now != told].max(initial=0.0))


def replay_step(spec: ModelSpec, evidence: Sequence[StepEvidence], parts: Mapping[int, Vector]) -> list[Recomputed]:
    """Recompute what a step did to the evidence of these signals.

    Parameters
    ----------
    spec
        With the frozen reference that was compared with.
    evidence
        As the event's lineage tells it.
    parts
        Rows of the step, counted again: phase to vector in the spec's layout.
    """
    replay = _StepReplay(spec, parts)
    return [replay.of(told) for told in evidence]


@dataclass(frozen=True, slots=True)
class CountedStep:
    """A step as an event names it, and the rows of each of its panes, counted again: those of the event's stage."""

    step: Step
    panes: Sequence[Profile]


def replay_steps(
    spec: ModelSpec, stage: Stage, evidence: Sequence[StepEvidence], steps: Iterable[CountedStep]
) -> list[Recomputed]:
    """Recompute the evidence of these signals from nothing, through all steps from the first to the event's own.

    Surrogates are not fed: which rows they were shown depends on when totals were published, which no event says.
    """
    layout = Layout(spec)
    monitor, found = Monitor(spec, layout, stage), dict[Subject, StepEvidence]()
    signals = {_subject(told) for told in evidence if told.signal not in spec.surrogate_signals}
    for counted in steps:
        until = None if counted.step.until is None else counted.step.until.timestamp()
        pairs = zip(counted.step.panes, counted.panes, strict=True)
        panes = [
            PaneCounts(pane, _of(stage, rows.parts), until, segments=_of(stage, rows.segments)) for pane, rows in pairs
        ]
        found = {_subject(each): each for each in monitor.observe_step(panes, signals)}
    return [_compared(told, found.get(_subject(told))) for told in evidence]


def _subject(told: StepEvidence) -> Subject:
    return told.signal, told.segment


def _of(stage: Stage, vectors: Mapping[tuple[Stage, int], Vector]) -> dict[int, Vector]:
    return {number: vector for (of, number), vector in vectors.items() if of is stage}


def _compared(told: StepEvidence, found: StepEvidence | None) -> Recomputed:
    if found is None:
        return Recomputed(told, why_not=SURROGATE)
    return Recomputed(told, found.before, found.after, found.score)


@dataclass(frozen=True, slots=True)
class _Engine:
    """Signals that are judged together, and the step's counts of them by phase."""

    baselines: Sequence[SignalBaseline]
    counts: Mapping[int, Sequence[Vector]]

    def replay(self, told: StepEvidence, index: int, state: State) -> Recomputed:
        """Put what the event tells into an engine that is otherwise new, and let it take the step."""
        engine = EvidenceEngine(self.baselines, log_threshold=0.0)  # which is for those who read it
        layout = Ragged([len(each.phases[WHOLE]) for each in self.baselines])
        engine.restore(with_part(engine.state(), layout, index, state))
        before = evidence_of(engine.evidence)[index]
        reading = engine.step(self.counts)[index]
        return Recomputed(told, before, reading.evidence, reading.score)


class _StepReplay:
    def __init__(self, spec: ModelSpec, parts: Mapping[int, Vector]) -> None:
        self._layout, self._threshold = Layout(spec), threshold_of(spec)
        counts = {phase: self._layout.signal_counts(vector) for phase, vector in parts.items()}
        engines = [_Engine(baselines(spec, self._layout), counts)]
        for family in dict.fromkeys(rate.family for rate in self._layout.rates):
            rates = [rate for rate in self._layout.rates if rate.family is family]
            read = RateReader(rates)
            of_rates = {phase: list(read.read(vector)) for phase, vector in parts.items()}
            engines.append(_Engine(rate_baselines(spec, self._layout, rates), of_rates))
        self._places = {each.name: (engine, index) for engine in engines for index, each in enumerate(engine.baselines)}
        self._whole = sum(parts.values(), np.zeros(self._layout.width, dtype=np.int64))

    def of(self, told: StepEvidence) -> Recomputed:
        if told.state is None:
            return Recomputed(told, why_not=told.not_told or "the event does not tell the evidence before its step")
        try:
            state = read_state(told.state)
            if told.signal in self._places:
                engine, index = self._places[told.signal]
                return engine.replay(told, index, state)
            return self._of_limit(told, *limits_of(state))
        except (ValueError, LookupError, TypeError) as error:
            return Recomputed(told, why_not=f"what the event tells does not fit this version of driftline: {error}")

    def _of_limit(self, told: StepEvidence, state: Mapping[str, object], burst: float) -> Recomputed:
        limits = Limits(self._layout, log_threshold=self._threshold)
        limits.restore(state)
        index = limits.names.index(told.signal)
        before = limits.signals()[index].evidence
        limits.step(self._whole, burst)
        reading = limits.signals()[index]
        return Recomputed(told, before, reading.evidence, reading.score)
