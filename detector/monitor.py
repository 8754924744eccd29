"""The path of an event, from rows to a decision: admit, accumulate, judge, decide, emit.

A monitor watches one model version in one stage. It is fed panes (the rows that came between two totals of a source
partition) and returns drift events. It reads no clock and draws no random number: the same panes in the same order
give the same events, in the worker, in a backtest and in a replay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any, Final

from detector.budget import budget_of
from detector.chosen import ChosenDetectors
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.explain import explain, importances, summarise, surely_drifted
from detector.incidents import IncidentChange, Incidents, Member, Watched
from detector.layout import Layout
from detector.limits import Limits
from detector.lineage import Evidence, Subject, Trail, evidence_of, seeds_of
from detector.means import RecentMeans
from detector.onsets import Mark, Onsets, earliest
from detector.quality.service_report import ServiceReport
from detector.quality.watch import RateWatch
from detector.ragged import Ragged
from detector.readings import SignalReading
from detector.recent import HALF_LIVES
from detector.reference import baselines
from detector.reports import PerformanceReport
from detector.segments.diagnosis import with_mix
from detector.segments.watch import segment_watch
from detector.steps import OpenStep, PaneCounts, StepClock
from detector.surrogates.signals import SurrogateSignals
from detector.tiers import Tiers
from schemas.lineage import StepEvidence
from schemas.model_spec import ModelSpec, OffsetRange, Stage, performance_signal
from schemas.outbound import (
    Change,
    Diagnosis,
    DriftEvent,
    DriftKind,
    Family,
    IncidentStatus,
    Lineage,
    MetricStatus,
    OpenIncident,
    Severity,
    SignalStatus,
    SignalVerdict,
    Step,
    Tier,
)
from schemas.tiers import FAULTS

STEPS_NAMED: Final = 32
"""The last steps whose cuts are named in an event."""

VERSION: Final = version("driftline")

SEVERITIES: Final = {
    Tier.NONE: Severity.INFO,
    Tier.MINOR: Severity.INFO,
    Tier.MODERATE: Severity.WARNING,
    Tier.SIGNIFICANT: Severity.CRITICAL,
}


class Monitor:
    """Watches one model version in one stage.

    Parameters
    ----------
    spec
        With a frozen reference.
    layout
        Of that spec.
    stage
        In which the watched predictions were made.
    """

    def __init__(self, spec: ModelSpec, layout: Layout, stage: Stage) -> None:
        self._spec, self._layout, self._stage = spec, layout, stage
        self._references = references = baselines(spec, layout)
        budget = budget_of(spec)
        self._threshold, self._watched = budget.threshold, dict(budget.by_family)
        self._watched[Family.DRIFT] += budget.segment_signals
        self._open_step = OpenStep()
        self._clock = StepClock(spec.steps)
        self._engine = EvidenceEngine(references, log_threshold=self._threshold)
        self._chosen = ChosenDetectors(spec, layout, log_threshold=self._threshold)
        self._surrogates = SurrogateSignals(spec, layout)
        watched_for = [*references, *self._surrogates.baselines]
        self._tiers = Tiers(watched_for, log_threshold=self._threshold, quiet_steps=spec.tiers.quiet_steps)
        self._means = RecentMeans(layout, HALF_LIVES)
        self._onsets = Onsets((*spec.signals, *spec.surrogate_signals))
        self._onset = Mark()
        scope = f"{spec.model}/{spec.version}/{stage}/{layout.spec_hash}"
        weights = importances(spec)
        self._limits = Limits(layout, log_threshold=self._threshold)
        self._segments = segment_watch(spec, layout, references)
        places = Ragged([len(each.phases[WHOLE]) for each in references])
        self._trail = Trail(places, surrogates=len(self._surrogates), limits=len(self._limits.names))
        self._report = PerformanceReport(layout)
        self._service = ServiceReport(layout)
        self._measured: tuple[MetricStatus, ...] | None = None
        members = [Watched(each.name, weights[each.name], each.opens) for each in watched_for]
        members += [Watched(name) for name in self._limits.names]
        self._in_whole = len(members)
        members += self._segments.watched() if self._segments is not None else []
        reopen_within_s = spec.responses.reopen_within.total_seconds()
        self._incidents = Incidents(scope, Family.DRIFT, members, reopen_within_s=reopen_within_s)
        self._faults = {
            family: RateWatch(
                layout,
                family,
                scope,
                log_threshold=budget.thresholds[family],
                reopen_within_s=reopen_within_s,
            )
            for family in FAULTS
            if family in self._watched
        }
        self._readings: Sequence[SignalReading] = self._beside(self._engine.step({}))
        self._steps: deque[Step] = deque(maxlen=STEPS_NAMED)
        self._judged_steps = 0
        self._rows = 0

    def observe(self, counts: PaneCounts, offsets: tuple[OffsetRange, ...]) -> list[DriftEvent]:
        """Take a pane; where it completes a step, judge it and return what that decided.

        Parameters
        ----------
        counts
            The pane.
        offsets
            All rows folded in up to now, by partition, this pane included.
        """
        self._admit(counts)
        if not self._clock.closes(self._layout.step_rows(self._open_step.whole)):
            return []
        return self._take_step(offsets)

    def observe_step(self, panes: Sequence[PaneCounts], signals: Collection[Subject]) -> tuple[StepEvidence, ...]:
        """Take a step that was cut elsewhere, as the events of a version say; return what it did to some signals."""
        for counts in panes:
            self._admit(counts)
        self._take_step(())
        told = self._told(i for i in range(len(self._all_readings())) if self._subject(i) in signals)
        names = [signal for signal, _ in signals]
        return sum((faults.told(names) for faults in self._faults.values()), told)

    def _take_step(self, offsets: tuple[OffsetRange, ...]) -> list[DriftEvent]:
        step = self._close()
        now = Mark(self._clock.now, offsets)
        self._judge(step)
        if self._segments is not None:
            self._segments.step(step, now)
        return [self._emit(change, offsets) for change in self._decide(now)]

    # ---------------------------------------------------------------------------- the five stations of the path

    def _admit(self, counts: PaneCounts) -> None:
        """Add the pane to the open step; its event time moves the clock."""
        self._clock.advance(counts.time)
        self._open_step.add(counts)
        if counts.sampled is not None:
            self._surrogates.take(*counts.sampled)
        self._rows += sum(map(self._layout.judged_rows, counts.parts.values()))

    def _close(self) -> OpenStep:
        """Close the open step and begin the next."""
        step, self._open_step = self._open_step, OpenStep()
        self._clock.restart()
        self._judged_steps += 1
        named = Step(number=self._judged_steps, rows=step.rows, until=_moment(self._clock.now), panes=tuple(step.panes))
        self._steps.append(named)
        return step

    def _judge(self, step: OpenStep) -> None:
        """Move the evidence of every signal by the step's rows; where River's detectors were chosen, they speak.

        Surrogates have seen some of the rows in full.
        """
        burst = self._burst() if self._limits.names else 1.0
        self._trail.begin(self._engine, self._evidence(), self._limits, burst)
        self._limits.step(step.whole, burst)
        self._report.add(step.whole)
        self._service.add(step.whole)
        self._measured = None
        by_phase = {phase: self._layout.signal_counts(vector) for phase, vector in step.parts.items()}
        readings = self._engine.step(by_phase)
        self._chosen.step(step.parts, readings)
        features = self._tiers.current[: len(self._spec.features)]
        self._surrogates.step(inputs_drift=any(tier is not Tier.NONE for tier in features))
        self._readings = self._beside(readings)
        self._means.add(step.whole)
        for faults in self._faults.values():
            faults.step(step.parts)

    def _decide(self, now: Mark) -> list[IncidentChange]:
        """Turn score and evidence into tiers, and tiers into the lives of incidents: of the drift, and of faults."""
        moment = "/".join(f"{each.topic}:{each.partition}:{each.to_offset}" for each in now.offsets)
        changes = [self._decide_drift(now, moment)]
        changes += [faults.decide(now, step=self._judged_steps, moment=moment) for faults in self._faults.values()]
        return [change for change in changes if change is not None]

    def _decide_drift(self, now: Mark, moment: str) -> IncidentChange | None:
        self._onsets.update(self._readings, now)
        for index, tier in self._tiers.update(self._readings).items():
            if index >= len(self._references):
                self._surrogates.reset(index - len(self._references), above=tier.rank)
                continue
            self._engine.reset(index, above=tier.rank)
            self._chosen.reset(index)
        tiers = [*self._tiers.current, *(limit.tier for limit in self._limits.readings())]
        if self._segments is not None:
            tiers += self._segments.tiers(tiers)
        change = self._incidents.update(
            tiers,
            self._all_readings(),
            step=self._judged_steps,
            moment=moment,
            time=math.nan if now.time is None else now.time,
        )
        if change is not None and change.change is Change.OPENED:
            self._onset = self._onset_of(sorted(member.name for member in change.incident.members), now)
        return change

    def _onset_of(self, members: Sequence[str], now: Mark) -> Mark:
        """Say where the first change among an incident's members began."""
        known = [self._onsets, *([] if self._segments is None else [self._segments.onsets])]
        named = [(onsets, [name for name in members if name in onsets.marks]) for onsets in known]
        return earliest([onsets.earliest(names) for onsets, names in named if names], otherwise=now)

    def _emit(self, change: IncidentChange, offsets: tuple[OffsetRange, ...]) -> DriftEvent:
        """Say what happened, with everything that is needed to understand and to recompute it."""
        incident, family = change.incident, change.incident.family
        resolved = change.change is Change.RESOLVED
        faults = self._faults.get(family)
        begun = self._onset if faults is None else faults.onset
        verdicts = tuple(map(self._verdict if faults is None else faults.verdict, incident.members))
        now, onset = _moment(self._clock.now), _moment(begun.time)
        watched = self._watched[family]
        return DriftEvent(
            id=change.id,
            change=change.change,
            status=IncidentStatus.RESOLVED if resolved else IncidentStatus.FIRING,
            severity=SEVERITIES[incident.tier],
            model=self._spec.model,
            version=self._spec.version,
            stage=self._stage,
            family=family,
            owner=self._spec.owner,
            labels=self._spec.responses.labels,
            runbook=self._spec.responses.runbook,
            incident_id=incident.id,
            dedup_key=incident.id,
            tier=incident.tier,
            previous_tier=change.previous_tier,
            response=self._spec.responses.strongest(incident.tier, family),
            summary=summarise(
                self._spec, change.change, incident.tier, verdicts, onset, family=family, signals=watched
            ),
            time=now,
            opened_at=_moment(incident.opened_at),
            since=onset,
            since_offsets=begun.ranges_until(offsets),
            resolved_at=now if resolved else None,
            signals=verdicts,
            signals_watched=watched,
            performance=self._metrics() if any(v.kind is DriftKind.PERFORMANCE for v in verdicts) else (),
            diagnosis=self._diagnosis(verdicts) if faults is None else None,
            surely_drifted=surely_drifted(self._readings, self._threshold) if faults is None else faults.sure(),
            lineage=Lineage(
                spec_hash=self._layout.spec_hash,
                driftline=VERSION,
                offsets=offsets,
                steps=tuple(self._steps),
                reference_hash=self._reference_hash,
                evidence=self._told(member.index for member in incident.members)
                if faults is None
                else faults.told([member.name for member in incident.members]),
                seeds=seeds_of(self._spec),
            ),
        )

    def _evidence(self) -> list[Evidence]:
        """Evidence of every signal as it stands between two steps, in the order of an incident's members."""
        evidence = evidence_of(self._engine.evidence)
        for index, reading in enumerate(self._chosen.overlay(self._readings[: len(evidence)])):
            if reading.detector is not None:
                evidence[index] = reading.evidence
        of_segments = self._segments.evidence() if self._segments is not None else ()
        return [*evidence, *self._surrogates.evidence(), *self._limits.evidence(), *of_segments]

    @cached_property
    def _reference_hash(self) -> str | None:
        frozen = self._spec.reference.frozen
        return None if frozen is None else frozen.hash

    def _beside(self, readings: Sequence[SignalReading]) -> Sequence[SignalReading]:
        """Put all readings in their order: the engine's, or River's detectors' in their place, then the surrogates'."""
        return [*self._chosen.overlay(readings), *self._surrogates.readings]

    def _all_readings(self) -> list[SignalReading]:
        """Of every signal that may be a member of an incident."""
        of_segments = self._segments.readings if self._segments is not None else ()
        return [*self._readings, *self._limits.signals(), *of_segments]

    def _told(self, indices: Iterable[int]) -> tuple[StepEvidence, ...]:
        """What the last step did to the evidence of some of these signals."""
        return self._trail.told([(i, self._subject(i)) for i in indices], self._all_readings())

    def _subject(self, index: int) -> Subject:
        """Name a signal, and the segment that it is of."""
        if self._segments is not None and index >= self._in_whole:
            return self._segments.subject(index - self._in_whole)
        of_limit = index - len(self._readings)
        return (self._readings[index].name if of_limit < 0 else self._limits.names[of_limit]), None

    def _diagnosis(self, verdicts: Sequence[SignalVerdict]) -> Diagnosis | None:
        """Say which drift it is, as far as surrogates and segments can tell."""
        diagnosis = self._surrogates.diagnosis(verdicts, self._readings)
        if self._segments is None:
            return diagnosis
        return with_mix(diagnosis, self._segments, self._layout.signals, verdicts, self._readings)

    def _verdict(self, member: Member) -> SignalVerdict:
        if self._segments is not None and member.index >= self._in_whole:
            return self._segments.verdict(member.index - self._in_whole, member)
        if member.name in self._limits.names:
            return self._limits.verdict(member)
        if member.index >= len(self._references):
            index = member.index - len(self._references)
            return self._surrogates.verdict(index, member, threshold=self._threshold)
        reading = self._readings[member.index]
        mean = self._means.mean(member.index, reading.half_life)
        reference = self._references[member.index]
        return explain(self._layout, member, reading, reference, threshold=self._threshold, mean=mean)

    def _metrics(self) -> tuple[MetricStatus, ...]:
        """Metrics after the last step; they are asked for more often than they change."""
        if self._measured is None:
            self._measured = self._report.metrics(self._burst())
        return self._measured

    def _burst(self) -> float:
        """Rows that are worth one independent row, of the basic loss."""
        if self._spec.loss is None:
            return 1.0
        _, _, burst = self._engine.nulls()
        return float(burst[self._layout.signals.index(performance_signal(self._spec.loss))])

    # --------------------------------------------------------------------------------------------- what is known

    def standing(self) -> dict[str, Any]:
        """Where the stage stands, as fields of a ``ModelStatus``."""
        incidents = self._open_incidents()
        return {
            "rows": self._rows,
            "steps": self._judged_steps,
            "time": _moment(self._clock.now),
            "tier": incidents[0].tier if incidents else Tier.NONE,
            "incident_id": incidents[0].id if incidents else None,
            "incidents": incidents,
            "signals": tuple(
                SignalStatus(
                    signal=reading.name,
                    tier=tier,
                    score=round(reading.score, 6),
                    evidence=round(reading.evidence[max(tier.rank - 1, 0)], 3),
                    threshold=round(self._threshold, 3),
                    not_judged=reading.not_judged,
                    detector=reading.detector,
                )
                for reading, tier in zip(self._readings, self._tiers.current, strict=True)
            )
            + self._limits.statuses()
            + (self._segments.statuses() if self._segments is not None else ())
            + tuple(status for faults in self._faults.values() for status in faults.statuses()),
            "segments": self._segments.standing(self._readings) if self._segments is not None else (),
            "performance": self._metrics(),
            "service": self._service.status(),
        }

    def _open_incidents(self) -> tuple[OpenIncident, ...]:
        """All open incidents, worst first."""
        found = [self._incidents.open, *(faults.open for faults in self._faults.values())]
        named = [
            OpenIncident(family=each.family, id=each.id, tier=each.tier, opened_at=_moment(each.opened_at))
            for each in found
            if each is not None
        ]
        return tuple(sorted(named, key=lambda each: -each.tier.rank))

    def state(self) -> dict[str, Any]:
        """Everything a successor needs, for ``detector.state``."""
        by_segment = {} if self._segments is None else {"segments": self._segments.state()}
        return {
            **by_segment,
            "open_step": self._open_step.state(),
            "clock": self._clock.state(),
            "engine": self._engine.state(),
            "chosen": self._chosen.state(),
            "surrogates": self._surrogates.state(),
            "tiers": self._tiers.state(),
            "limits": self._limits.state(),
            "report": self._report.state(),
            "service": self._service.state(),
            "means": self._means.state(),
            "onsets": self._onsets.state(),
            "onset": self._onset.state(),
            "incidents": self._incidents.state(),
            "faults": {family.value: faults.state() for family, faults in self._faults.items()},
            "steps": [step.model_dump(mode="json") for step in self._steps],
            "judged_steps": self._judged_steps,
            "rows": self._rows,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` left off, to the last bit."""
        self._open_step = OpenStep.restored(state["open_step"])
        self._clock.restore(state["clock"])
        self._engine.restore(state["engine"])
        self._chosen.restore(state.get("chosen", {}))  # states of 0.1.0 have none
        self._surrogates.restore(state.get("surrogates", {}))
        self._tiers.restore(state["tiers"])
        self._limits.restore(state.get("limits", {}))
        self._report.restore(state.get("report", {}))
        self._service.restore(state.get("service", {}))
        if self._segments is not None:
            self._segments.restore(state["segments"])
        self._measured = None
        self._means.restore(state["means"])
        self._onsets.restore(state["onsets"])
        self._onset = Mark.restored(state["onset"])
        self._incidents.restore(state["incidents"])
        for family, saved in state.get("faults", {}).items():
            self._faults[Family(family)].restore(saved)
        self._steps = deque((Step(**step) for step in state["steps"]), maxlen=STEPS_NAMED)
        self._judged_steps, self._rows = state["judged_steps"], state["rows"]
        self._readings = self._beside(self._engine.step({}))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None or math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
