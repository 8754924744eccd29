"""The rates of one family, from counts to incidents: what `detector.monitor` does for drifts, for faults.

Data at fault is no drift: it has incidents of its own, which ask nobody to retrain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.explain import interval_of, next_tier, surely_drifted
from detector.incidents import Incident, IncidentChange, Incidents, Member, Watched
from detector.layout import Layout
from detector.lineage import Trail, evidence_of
from detector.onsets import LOW, Mark, Onsets
from detector.quality.rates import ASSUMED_ROWS, BAD, COSTS, TOLD_ROWS, Rate, RateReader
from detector.ragged import Ragged
from detector.readings import SignalBaseline, SignalReading
from detector.reference import reference_vectors
from detector.tiers import Tiers
from schemas.lineage import StepEvidence
from schemas.model_spec import ModelSpec
from schemas.outbound import BinChange, Change, DriftKind, Family, SignalStatus, SignalVerdict, Tier

Ints = NDArray[np.int64]

_KINDS: Final = {Family.QUALITY: DriftKind.QUALITY, Family.SERVICE: DriftKind.SERVICE}


class RateWatch:
    """Watches the rates of one family, for one model version and stage.

    Parameters
    ----------
    layout
        With at least one rate of the family.
    family
        Which one.
    scope
        What makes ids unique among models, versions, stages and references.
    log_threshold
        Evidence that the false-alarm budget asks of each rate, in nats.
    reopen_within_s
        As of `Incidents`.
    """

    def __init__(
        self, layout: Layout, family: Family, scope: str, *, log_threshold: float, reopen_within_s: float = 0.0
    ) -> None:
        self.family = family
        self._rates = [rate for rate in layout.rates if rate.family is family]
        self._reader = RateReader(self._rates)
        self._baselines = rate_baselines(layout.spec, layout, self._rates)
        self._threshold = log_threshold
        self._engine = EvidenceEngine(self._baselines, log_threshold=log_threshold)
        quiet_steps = layout.spec.tiers.quiet_steps
        self._tiers = Tiers(self._baselines, log_threshold=log_threshold, quiet_steps=quiet_steps)
        members = [Watched(rate.signal, rate.importance) for rate in self._rates]
        self._incidents = Incidents(scope, family, members, reopen_within_s=reopen_within_s)
        self._onsets, self.onset = Onsets([rate.signal for rate in self._rates]), Mark()
        self._trail = Trail(Ragged([2] * len(self._rates)))
        self._readings: Sequence[SignalReading] = self._engine.step({})

    def __len__(self) -> int:
        """How many rates there are."""
        return len(self._rates)

    def step(self, parts: Mapping[int, Ints]) -> None:
        """Move the evidence by a step's rows, given as a vector of the layout for each phase."""
        self._trail.begin(self._engine, evidence_of(self._engine.evidence))
        self._readings = self._engine.step({phase: list(self._reader.read(each)) for phase, each in parts.items()})

    def decide(self, now: Mark, *, step: int, moment: str) -> IncidentChange | None:
        """Turn scores and evidence into tiers, and tiers into the life of an incident (`Incidents.update`)."""
        self._onsets.update(self._readings, now)
        for index, tier in self._tiers.update(self._readings).items():
            self._engine.reset(index, above=tier.rank)
        time = math.nan if now.time is None else now.time
        change = self._incidents.update(self._tiers.current, self._readings, step=step, moment=moment, time=time)
        if change is not None and change.change is Change.OPENED:
            self.onset = self._onsets.earliest(sorted(member.name for member in change.incident.members))
        return change

    def told(self, signals: Collection[str]) -> tuple[StepEvidence, ...]:
        """What the last step did to the evidence of some rates, in the order given."""
        places = {rate.signal: place for place, rate in enumerate(self._rates)}
        return self._trail.told([(places[each], (each, None)) for each in signals if each in places], self._readings)

    def verdict(self, member: Member) -> SignalVerdict:
        """Say what the reading of an incident's member means."""
        rate, reading = self._rates[member.index], self._readings[member.index]
        baseline = self._baselines[member.index]
        expected, actual = (round(each, 6) for each in reading.losses or (0.0, 0.0))
        return SignalVerdict(
            signal=member.name,
            kind=_KINDS[self.family],
            tier=member.tier,
            score=round(member.score, 6),
            score_name="increase",
            score_interval=interval_of(reading, baseline),
            evidence=round(member.evidence, 3),
            threshold=round(self._threshold, 3),
            next_tier=next_tier(member.tier, reading, baseline, self._threshold),
            rows=round(reading.rows, 1),
            importance=member.importance,
            expected_mean=expected,
            actual_mean=actual,
            bins=(BinChange(bin=rate.what, expected=expected, actual=actual),),
        )

    def sure(self) -> tuple[str, ...]:
        """Rates that have surely risen when all are looked at together, most evidence first."""
        return surely_drifted(self._readings, self._threshold)

    # --------------------------------------------------------------------------------------------- what is known

    def statuses(self) -> tuple[SignalStatus, ...]:
        """Where the rates stand, worst first: of the data those that have a tier or some evidence, of the service all.

        Of the data there are several for each feature, most of them as they always were.
        """
        found = [
            SignalStatus(
                signal=reading.name,
                tier=tier,
                score=round(reading.score, 6),
                evidence=round(reading.evidence[max(tier.rank - 1, 0)], 3),
                threshold=round(self._threshold, 3),
                not_judged=reading.not_judged,
            )
            for reading, tier in zip(self._readings, self._tiers.current, strict=True)
            if tier is not Tier.NONE or reading.evidence[0] >= LOW or self.family is not Family.QUALITY
        ]
        return tuple(sorted(found, key=lambda each: (-each.tier.rank, -each.evidence, each.signal)))

    @property
    def open(self) -> Incident | None:
        """The family's open incident."""
        return self._incidents.open

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "engine": self._engine.state(),
            "tiers": self._tiers.state(),
            "incidents": self._incidents.state(),
            "onsets": self._onsets.state(),
            "onset": self.onset.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same spec, to the last bit."""
        self._engine.restore(state["engine"])
        self._tiers.restore(state["tiers"])
        self._incidents.restore(state["incidents"])
        self._onsets.restore(state["onsets"])
        self.onset = Mark.restored(state["onset"])
        self._readings = self._engine.step({})


def rate_baselines(spec: ModelSpec, layout: Layout, rates: Sequence[Rate]) -> list[SignalBaseline]:
    """Say what each rate is compared with: the reference's, or what is expected where the reference has no such rows.

    Raises
    ------
    ValueError
        If the spec has no frozen reference, or its profile is damaged.
    """
    phases = reference_vectors(spec, layout)
    read = RateReader(rates)
    counts = {phase: read.read(vector) for phase, vector in phases.items()}
    dispersion = spec.reference.frozen.dispersion if spec.reference.frozen is not None else {}
    return [
        SignalBaseline(
            name=rate.signal,
            phases=_expected(rate, {phase: each[place] for phase, each in counts.items()}),
            ordered=True,
            dispersion=_dispersion(rate, int(counts[WHOLE][place][BAD]), dispersion),
            opens=True,
            thresholds=(rate.tiers.minor, rate.tiers.moderate, rate.tiers.significant),
            losses=COSTS,
            is_rate=True,
        )
        for place, rate in enumerate(rates)
    ]


def _dispersion(rate: Rate, bad: int, measured: Mapping[str, float]) -> float:
    """Rows that are worth one independent row, of a rate with so many bad rows in the reference."""
    own = max(measured.get(rate.signal, 1.0), 1.0)
    is_told = bad >= TOLD_ROWS or (bad == 0 and not rate.by_value)
    return own if is_told or rate.of_signal is None else max(own, measured.get(rate.of_signal, 1.0))


def _expected(rate: Rate, phases: dict[int, Ints]) -> dict[int, Ints]:
    """Counts by phase that tell what to expect."""
    rows = int(phases[WHOLE].sum())
    if rows:
        return {phase: _with(each, round(rate.awaited * int(each.sum()) / rows)) for phase, each in phases.items()}
    if rate.expected is None:
        return {WHOLE: np.array([1, 0])}  # one row: too few to judge by
    bad = round(rate.expected * ASSUMED_ROWS)
    return {WHOLE: np.array([ASSUMED_ROWS - bad, bad])}


def _with(counts: Ints, awaited: int) -> Ints:
    moved = min(awaited, int(counts[1 - BAD]))
    return np.asarray(counts + np.array([-moved, moved]))
