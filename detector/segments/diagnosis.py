"""Says whether a drift is one of the mix of segments, or happened within them: for people and for pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detector.explain import kind_of
from detector.readings import SignalReading
from detector.segments.mix import Decomposition
from detector.segments.table import SegmentGroup
from detector.segments.watch import SegmentWatch
from schemas.model_spec import feature_signal
from schemas.outbound import Diagnosis, DriftKind, MixCheck, SegmentChange, SignalVerdict, Tier
from schemas.segments import SEGMENT

MOST_SIGNALS: Final = 5
"""Signals of an incident that are taken apart, those that come first in it."""
MOST_SEGMENTS: Final = 5
"""Segments named of each."""
MOST_SAID: Final = 2
"""Signals of which it is said in the sentence for people."""
MOSTLY: Final = 0.7
"""From this share on a change is said to be one of the mix; from as much of the rest on, one within segments."""
ALONE: Final = 1.5
"""So many times its share of the rows, and half of all, a segment must have of a change to be named for it."""
NO_SEGMENT: Final = "none"
"""What rows are in whose field is missing or invalid."""


def with_mix(
    diagnosis: Diagnosis | None,
    watch: SegmentWatch,
    signals: Sequence[str],
    verdicts: Sequence[SignalVerdict],
    readings: Sequence[SignalReading],
) -> Diagnosis:
    """Add to a diagnosis, or make one, what segments tell of an incident.

    Parameters
    ----------
    signals
        Names of the model's signals.
    verdicts
        Of the incident.
    readings
        Of the whole, in the order of ``signals``.
    """
    firing = [verdict for verdict in verdicts if verdict.tier is not Tier.NONE]
    checks: list[MixCheck] = []
    for verdict in firing:
        if verdict.segment is None and verdict.signal in signals and len(checks) < MOST_SIGNALS:
            index = signals.index(verdict.signal)
            taken_apart = watch.decompositions(readings[index], index)
            if taken_apart:
                checks.append(_check(verdict.signal, *max(taken_apart, key=_explained)))
    said = _sentences(firing, checks)
    if diagnosis is None:
        kinds = {kind_of(verdict.signal) for verdict in firing}
        drifts = tuple(kind for kind in DriftKind if kind in kinds)
        return Diagnosis(drifts=drifts, explanation=said, mix=tuple(checks))
    explanation = f"{diagnosis.explanation.rstrip('.')}. {said}" if said else diagnosis.explanation
    return diagnosis.model_copy(update={"explanation": explanation, "mix": tuple(checks)})


def _explained(taken_apart: tuple[SegmentGroup, Decomposition]) -> float:
    return taken_apart[1].explained or 0.0


def _check(signal: str, group: SegmentGroup, parts: Decomposition) -> MixCheck:
    names = (*group.names, f"{group.name}={NO_SEGMENT}")
    change = parts.total if parts.total > 0 else np.inf
    moved = np.abs(parts.within) + np.abs(parts.now - parts.before) * abs(parts.mix)
    largest = [i for i in np.argsort(-moved, kind="stable")[:MOST_SEGMENTS].tolist() if moved[i] > 0]
    return MixCheck(
        signal=signal,
        field=group.name,
        change=round(parts.total, 6),
        explained=None if parts.explained is None else round(parts.explained, 4),
        segments=tuple(
            SegmentChange(
                segment=names[i],
                expected_share=round(float(parts.before[i]), 6),
                actual_share=round(float(parts.now[i]), 6),
                within=round(float(parts.within[i] / change), 4),
            )
            for i in largest
        ),
    )


def _sentences(firing: Sequence[SignalVerdict], checks: Sequence[MixCheck]) -> str:
    """Say it for people: which segments drift by themselves, and what of the whole is mix."""
    said = []
    alone = [verdict for verdict in firing if verdict.segment is not None]
    if alone:
        first = alone[0]
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        said.append(f"{_short(first.signal)} changed in {first.segment}{more}, which the whole hides")
    said += [_of_check(check) for check in checks if check.explained is not None][:MOST_SAID]
    mixes = [verdict.signal.removeprefix(SEGMENT) for verdict in firing if verdict.signal.startswith(SEGMENT)]
    if mixes and not said:
        said.append(f"the segments of {mixes[0]} have other shares, and nothing is seen to have changed within them")
    return "; ".join(said)


def _of_check(check: MixCheck) -> str:
    signal, explained = _short(check.signal), check.explained or 0.0
    if explained >= MOSTLY:
        moved = max(check.segments, key=lambda each: abs(each.actual_share - each.expected_share))
        shares = f"{moved.segment} {moved.expected_share:.0%} -> {moved.actual_share:.0%}"
        return f"{explained:.0%} of the change of {signal} is the mix of {check.field} ({shares})"
    most = max(check.segments, key=lambda each: each.within)
    is_alone = most.within >= max(0.5, ALONE * most.actual_share)
    inside = f" ({most.within:.0%} of it in {most.segment})" if is_alone else ""
    if explained <= 1 - MOSTLY:
        return f"{signal} changed within segments of {check.field}{inside}"
    return f"{explained:.0%} of the change of {signal} is the mix of {check.field}, the rest within segments{inside}"


def _short(signal: str) -> str:
    return signal.removeprefix(feature_signal(""))
