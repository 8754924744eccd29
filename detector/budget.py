"""From a false-alarm budget to thresholds, and what they mean for what can be found.

Where rows are broken down, half of the false alarms are for the segments, all their signals together, so that the whole
pays log 2 for them.

The budget allows ``count`` false alarms in ``per``. Each of S signals may be wrong at each of the period's T steps, so
that an alarm asks for evidence of ``log(T S / count)`` nats: the union bound over signals of an e-detector whose mean
time to a false alarm is its threshold (``detector.sequential``). Where faults of the data or of the service are watched
too, each of F families has an equal share, and S are the family's own: ``log(T F S / count)``. So that dozens of rates,
or a rule more, make drifts hardly harder to find.

How soon a change is found follows from it. Evidence of a change of PSI s against a null that holds changes up to r
(in nats of KL divergence, about half the PSI) grows by about ``(sqrt(s / 2) - sqrt(r))^2`` nats with each independent
row: the second-order approximation of the divergence between the change and the null's nearest member.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from detector.evidence import LEARNING_NATS, EvidenceEngine
from detector.expectation import WHOLE
from detector.explain import score_name, watched_by_family, watched_in_whole
from detector.layout import Layout
from detector.reference import baselines
from detector.segments.table import signals_in_segments
from detector.sequential import log_threshold
from detector.steps import steps_in
from schemas.model_spec import ModelSpec
from schemas.outbound import Family

CLEAR: Final = 2.0
"""A change of so many times a tier's score is what the rows until it is found are told for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A false-alarm budget and the evidence that it asks for."""

    count: float
    per: timedelta
    steps: float
    """At most so many in the period."""
    signals: int
    """Of the whole."""
    threshold: float
    """Nats, of each signal of drift."""
    by_family: Mapping[Family, int]
    """Signals of each family that is watched, segments' apart."""
    thresholds: Mapping[Family, float]
    """Nats, of each of its signals."""
    segment_signals: int = 0
    """Of all segments together."""
    segment_threshold: float | None = None
    """Nats, of each of those; None where nothing is broken down."""


@dataclass(frozen=True, slots=True)
class TierReach:
    """What a signal needs for a tier."""

    score: float
    tolerated: float
    """Score of the largest change that the tier's null holds, the reference's own uncertainty included."""
    rows: float
    """About how many rows a change of `CLEAR` times the score takes to be found; infinite: it never is."""


@dataclass(frozen=True, slots=True)
class SignalReach:
    """What can be found in a signal."""

    signal: str
    score_name: str
    reference_rows: int
    independent_rows: float
    """What they are worth, given how bursty they are."""
    tiers: tuple[TierReach, TierReach, TierReach]
    not_judged: str | None
    """Why nothing can be found, if so."""


def budget_of(spec: ModelSpec) -> Budget:
    """Derive the threshold from a spec's budget."""
    allowed, signals, in_segments = spec.false_alarms, watched_in_whole(spec), signals_in_segments(spec)
    steps = steps_in(allowed.per, spec.steps)
    period = allowed.per.total_seconds()
    families = watched_by_family(spec)
    count = allowed.count / len(families)
    of_drift = count / 2 if in_segments else count
    thresholds = {
        family: log_threshold(period, period / steps, own, of_drift if family is Family.DRIFT else count)
        for family, own in families.items()
    }
    of_segments = log_threshold(period, period / steps, in_segments, of_drift) if in_segments else None
    drift = thresholds[Family.DRIFT]
    return Budget(allowed.count, allowed.per, steps, signals, drift, families, thresholds, in_segments, of_segments)


def threshold_of(spec: ModelSpec, family: Family = Family.DRIFT) -> float:
    """Evidence in nats that the false-alarm budget of a spec asks of each signal of a family."""
    return budget_of(spec).thresholds[family]


def segment_threshold_of(spec: ModelSpec) -> float:
    """Evidence in nats that it asks of each signal of a segment; infinite where nothing is broken down."""
    threshold = budget_of(spec).segment_threshold
    return math.inf if threshold is None else threshold


def reach_of(spec: ModelSpec) -> Sequence[SignalReach]:
    """Say what can be found in each signal of a spec with a frozen reference.

    Raises
    ------
    ValueError
        If the spec has no frozen reference.
    """
    references = baselines(spec, Layout(spec))
    threshold = threshold_of(spec)
    engine = EvidenceEngine(references, log_threshold=threshold)
    radii, unit, worth = engine.nulls()
    found = []
    for index, (each, reading) in enumerate(zip(references, engine.step({}), strict=True)):
        rows = int(sum(each.phases[WHOLE]))
        tiers = [
            _reach(score, radius, unit[index], (threshold + LEARNING_NATS) * worth[index])
            for score, radius in zip(each.thresholds, radii[:, index].tolist(), strict=True)
        ]
        reason = reading.not_judged if reading.not_judged and "reference" in reading.not_judged else None
        name = score_name(spec, each.name)
        found.append(SignalReach(each.name, name, rows, rows / worth[index], (tiers[0], tiers[1], tiers[2]), reason))
    return found


def _reach(score: float, radius: float, unit: float, needed: float) -> TierReach:
    """``unit`` is the PSI of a change of score 1; NaN where the score is the PSI itself."""
    is_psi = math.isnan(unit)
    psi = CLEAR * score if is_psi else unit * (CLEAR * score) ** 2
    gain = max(math.sqrt(psi / 2) - math.sqrt(radius), 0.0) ** 2
    tolerated = 2 * radius if is_psi else math.sqrt(2 * radius / unit)
    return TierReach(score, tolerated, needed / gain if gain > 0 else np.inf)
