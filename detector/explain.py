"""Says what a reading means: distances, means and the bins that changed, for people and for pipelines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import log
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from detector.expectation import WHOLE
from detector.incidents import Member
from detector.intervals import psi_interval, rise_interval
from detector.layout import Layout
from detector.readings import SignalBaseline, SignalReading
from detector.reference import loss_of_signal
from detector.scores import measure, psi_terms
from detector.segments.table import signals_in_segments
from schemas.model_spec import (
    CONCEPT,
    ESTIMATED_PERFORMANCE,
    MIMIC,
    PREDICTION,
    CategoryBins,
    ModelSpec,
    NumberBins,
    feature_signal,
)
from schemas.outbound import BEYOND_LIMIT, BinChange, Change, DriftKind, Family, NextTier, SignalVerdict, Tier
from schemas.performance import RATES

Counts = NDArray[np.float64]

MOST_BINS: Final = 5
"""Bins named in an event."""
MOST_NAMED: Final = 3
"""Signals named in a summary."""
_RANKED: Final = tuple(Tier)
_TROUBLE: Final = {
    Family.DRIFT: "drift",
    Family.QUALITY: "fault of the data",
    Family.SERVICE: "fault of the service",
    Family.BUSINESS: "loss of business",
}
_KINDS: Final = {PREDICTION: DriftKind.PREDICTION, MIMIC: DriftKind.PREDICTION, CONCEPT: DriftKind.CONCEPT}
_PERFORMANCE: Final = "performance:"
_MEAN_MOVED: Final = 0.2
"""Reference sds from which a moved mean says more than a bin."""


def kind_of(signal: str) -> DriftKind:
    """Which of the drifts a signal shows."""
    if signal == ESTIMATED_PERFORMANCE or signal.startswith(_PERFORMANCE):
        return DriftKind.PERFORMANCE
    return _KINDS.get(signal, DriftKind.DATA)


def score_name(spec: ModelSpec, signal: str) -> str:
    """What the score of a signal is: ``psi``, or how much the mean loss has risen and in which unit."""
    loss = loss_of_signal(spec, signal)
    if loss is None:
        return "psi"
    return "increase" if loss in RATES else "relative_increase"


def importances(spec: ModelSpec) -> dict[str, float]:
    """Importance of each signal: the features' own, 1 for the prediction."""
    named = {feature_signal(feature.name): feature.importance for feature in spec.features}
    return {signal: named.get(signal, 1.0) for signal in (*spec.signals, *spec.surrogate_signals)}


def watched(spec: ModelSpec) -> int:
    """How many signals, rates and segments' among them, are watched."""
    return watched_in_whole(spec) + signals_in_segments(spec)


def watched_in_whole(spec: ModelSpec) -> int:
    """How many of them are not of a single segment."""
    return sum(watched_by_family(spec).values())


def watched_by_family(spec: ModelSpec) -> dict[Family, int]:
    """How many of those each family of incidents has; a family without one is left out."""
    limits = len(spec.outcomes.limits) if spec.outcomes is not None else 0
    drift = len(spec.signals) + len(spec.surrogate_signals) + limits
    rates = Counter(rate.family for rate in Layout(spec).rates) if spec.reference.frozen is not None else {}
    return {Family.DRIFT: drift, **rates}


def frozen_bins(spec: ModelSpec) -> Mapping[str, NumberBins | CategoryBins]:
    """Bins of the reference by signal; none while there is no reference."""
    return spec.reference.frozen.bins if spec.reference.frozen is not None else {}


def distances(current: Counts, reference: Counts, bins: NumberBins | CategoryBins) -> dict[str, float]:
    """Every distance between the rows judged and the reference, with small-sample bias removed."""
    places = positions(bins) if isinstance(bins, NumberBins) else None
    measured = measure(current, reference, ordered=places is not None, positions=places)
    return {name: round(value, 6) for name, value in measured.items()}


def positions(bins: NumberBins) -> Counts:
    """Where each bin of a number stands, in sd of the reference: underflow and overflow at the outer edges.

    Missing and invalid stand nowhere: NaN.
    """
    places = np.array([bins.edges[0], *bins.means, bins.edges[-1], np.nan, np.nan])
    return np.asarray((places - bins.center) / bins.scale)


def mean_of(counts: Counts, bins: NumberBins) -> float | None:
    """Mean of a number as its bins tell it: each bin stands for its mean in the reference."""
    places = positions(bins)
    numbers = ~np.isnan(places)
    rows = counts[numbers].sum()
    if rows <= 0:
        return None
    return float(bins.center + bins.scale * (counts[numbers] @ places[numbers]) / rows)


def changed_bins(labels: tuple[str, ...], current: Counts, reference: Counts) -> tuple[BinChange, ...]:
    """Name the bins that add most to the PSI, largest first."""
    terms = psi_terms(current, reference)
    now, then = current / max(current.sum(), 1e-300), reference / max(reference.sum(), 1e-300)
    largest = [int(index) for index in np.argsort(-terms, kind="stable")[:MOST_BINS] if terms[index] > 0]
    return tuple(
        BinChange(bin=labels[index], expected=round(float(then[index]), 6), actual=round(float(now[index]), 6))
        for index in largest
    )


def next_tier(tier: Tier, reading: SignalReading, baseline: SignalBaseline, threshold: float) -> NextTier | None:
    """Say what would have to change for the next tier up; None at the highest."""
    if tier.rank == len(baseline.thresholds):
        return None
    score, evidence = baseline.thresholds[tier.rank], reading.evidence[tier.rank]
    keys: dict[Literal["score", "evidence"], bool] = {
        "score": reading.score >= score,
        "evidence": evidence >= threshold,
    }
    return NextTier(
        tier=_RANKED[tier.rank + 1],
        score=score,
        evidence=round(evidence, 3),
        lacks=tuple(key for key, is_there in keys.items() if not is_there),
    )


def interval_of(reading: SignalReading, baseline: SignalBaseline) -> tuple[float, float]:
    """Return the confidence interval of the score, about 95 %."""
    if baseline.losses is None:
        low, high = psi_interval(reading.current, reading.reference)
    else:
        low, high = rise_interval(reading.current, reading.reference, baseline.losses)
    return round(low, 6), round(high, 6)


def surely_drifted(readings: Sequence[SignalReading], threshold: float) -> tuple[str, ...]:
    """Return the signals that e-BH rejects, most evidence first.

    With M the evidence against the smallest tier's null, T steps and K signals, M / T is an e-value at any step of the
    period; e-BH rejects the k* largest, k* being the largest k with ``M_(k) >= T K / k`` (e-d-BH, arXiv 2501.04130).
    """
    ordered = sorted(readings, key=lambda reading: (-reading.evidence[0], reading.name))
    last = max((k for k, each in enumerate(ordered, start=1) if each.evidence[0] >= threshold - log(k)), default=0)
    return tuple(each.name for each in ordered[:last])


def explain(
    layout: Layout,
    member: Member,
    reading: SignalReading,
    baseline: SignalBaseline,
    *,
    threshold: float,
    mean: float | None,
) -> SignalVerdict:
    """Say what the reading of an incident's member means.

    Parameters
    ----------
    baseline
        What the signal is compared with.
    threshold
        Evidence asked for, in nats.
    mean
        Of the rows judged, where the signal is a number.
    """
    bins = frozen_bins(layout.spec)[member.name]
    expected = mean_of(reading.reference, bins) if isinstance(bins, NumberBins) else None
    if reading.losses is not None:
        # What the score compares: with a season, the reference's mean is none to compare recent rows with.
        unit = _unit_of_loss(layout.spec, member.name, bins, baseline)
        expected, mean = (round(unit * each, 6) for each in reading.losses)
    return SignalVerdict(
        signal=member.name,
        kind=kind_of(member.name),
        tier=member.tier,
        score=round(member.score, 6),
        score_name=score_name(layout.spec, member.name),
        score_interval=interval_of(reading, baseline),
        evidence=round(member.evidence, 3),
        threshold=round(threshold, 3),
        next_tier=next_tier(member.tier, reading, baseline, threshold),
        rows=round(reading.rows, 1),
        importance=member.importance,
        distances=distances(reading.current, reading.reference, bins),
        expected_mean=expected,
        actual_mean=mean,
        blind_to=(DriftKind.CONCEPT,) if member.name == ESTIMATED_PERFORMANCE else (),
        bins=changed_bins(layout.binners[member.index].labels(), reading.current, reading.reference),
        detector=reading.detector,
    )


def _unit_of_loss(spec: ModelSpec, signal: str, bins: NumberBins | CategoryBins, baseline: SignalBaseline) -> float:
    """What a loss of 1 in a reading stands for: rates are themselves, others shares of the reference's mean."""
    if score_name(spec, signal) == "increase" or not isinstance(bins, NumberBins):
        return 1.0
    return mean_of(baseline.phases[WHOLE].astype(np.float64), bins) or 1.0


def summarise(
    spec: ModelSpec,
    change: Change,
    tier: Tier,
    verdicts: Sequence[SignalVerdict],
    since: datetime | None,
    *,
    family: Family,
    signals: int,
) -> str:
    """Write one sentence for people; ``signals`` are those of the family."""
    name, trouble = f"{spec.model} {spec.version}", _TROUBLE[family]
    if change is Change.RESOLVED:
        return f"{name}: {trouble} is over, none of the {signals} signals has a tier any more"
    bins = frozen_bins(spec)
    firing = [verdict for verdict in verdicts if verdict.tier is not Tier.NONE]
    named = [_named(verdict, bins.get(verdict.signal)) for verdict in firing[:MOST_NAMED]]
    more = f" and {len(firing) - MOST_NAMED} more" if len(firing) > MOST_NAMED else ""
    when = f" since {since:%Y-%m-%d %H:%M}" if since is not None else ""
    again = " again" if change is Change.REOPENED else ""
    return f"{name}: {tier} {trouble}{again}{when} in {len(firing)} of {signals} signals: {', '.join(named)}{more}"


def _named(verdict: SignalVerdict, bins: NumberBins | CategoryBins | None) -> str:
    signal = verdict.signal.removeprefix(feature_signal(""))
    said = f", alarm of {verdict.detector}" if verdict.detector is not None else ""
    where = f" in {verdict.segment}" if verdict.segment is not None else ""
    return f"{signal}{where} ({shown_score(verdict)}, {headline(bins, verdict)}{said})"


def shown_score(verdict: SignalVerdict) -> str:
    """Write a score with its unit."""
    match verdict.score_name:
        case "beyond_limit":
            return f"{verdict.score:.4g} beyond its limit"
        case "increase":
            return f"+{verdict.score:.3f}"
        case "relative_increase":
            return f"+{verdict.score:.0%}"
        case "auc_excess":
            return f"AUC {0.5 + verdict.score:.2f}"
    return f"PSI {verdict.score:.2f}"


def headline(bins: NumberBins | CategoryBins | None, verdict: SignalVerdict) -> str:
    """Say in half a sentence what changed: the mean of a number that moved, else the bin that changed most.

    ``bins`` is None for limits, rates and what surrogate models watch.
    """
    if verdict.score_name == BEYOND_LIMIT:
        return f"{verdict.actual_mean:.4g}, limit {verdict.expected_mean:.4g}"
    if verdict.kind in (DriftKind.QUALITY, DriftKind.SERVICE):
        return f"{verdict.expected_mean:.1%} -> {verdict.actual_mean:.1%} {verdict.bins[0].bin}"
    if bins is None:
        return f"{verdict.model}: {verdict.expected_mean:.3g} -> {verdict.actual_mean:.3g}"
    if verdict.kind is DriftKind.PERFORMANCE:
        return f"mean {verdict.expected_mean:.4g} -> {verdict.actual_mean:.4g}"
    if isinstance(bins, NumberBins) and _moved(bins, verdict):
        return f"mean {verdict.expected_mean:.4g} -> {verdict.actual_mean:.4g}"
    if verdict.bins:
        largest = verdict.bins[0]
        return f"share of {largest.bin} {largest.expected:.1%} -> {largest.actual:.1%}"
    return "distribution changed"


def _moved(bins: NumberBins, verdict: SignalVerdict) -> bool:
    if verdict.expected_mean is None or verdict.actual_mean is None:
        return False
    return abs(verdict.actual_mean - verdict.expected_mean) >= _MEAN_MOVED * bins.scale
