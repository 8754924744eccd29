"""The signals of all segments: what the monitor keeps of them beside those of the whole.

They have an evidence engine of their own, which is the same, and steps of their own: as many of the monitor's as hold
about ``steps.min_rows`` for each segment of a field, at least `FEWEST_STEPS` and at the most `MOST_STEPS`. A signal of
a segment is named, and so is a member of the incident, while its tier is higher than that of the same signal of the
whole: what the whole shows, it shows better. Of each signal at most `MOST_NAMED` segments are, and those that are stay
as long as they have a tier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.budget import segment_threshold_of
from detector.evidence import EvidenceEngine
from detector.expectation import WHOLE
from detector.explain import explain, frozen_bins, importances, mean_of
from detector.incidents import Member, Watched
from detector.layout import Layout
from detector.onsets import Mark, Onsets
from detector.readings import SignalBaseline, SignalReading
from detector.segments.frozen import segment_baselines, segment_vectors
from detector.segments.mix import Decomposition, MixCounts, decompose
from detector.segments.table import SegmentGroup, SegmentTable
from detector.steps import OpenStep
from detector.tiers import Tiers
from schemas.model_spec import ModelSpec, NumberBins, feature_signal
from schemas.outbound import SegmentStatus, SignalStatus, SignalVerdict, Tier
from schemas.segments import PAIR

FEWEST_STEPS: Final = 4
MOST_STEPS: Final = 8
"""Of the monitor's in one of the segments': a step costs by the signal, and segments have many."""
MOST_NAMED: Final = 3
"""Segments named of a signal."""


def segment_watch(spec: ModelSpec, layout: Layout, whole: list[SignalBaseline]) -> SegmentWatch | None:
    """Watch the segments of a spec; None where nothing is broken down."""
    return None if layout.segments is None else SegmentWatch(spec, layout, layout.segments, whole)


@dataclass(frozen=True, slots=True)
class _Key:
    """One signal of one segment."""

    segment: str
    number: int
    signal: int

    def name(self, signals: Sequence[str]) -> str:
        """What it is called among the members of an incident."""
        return f"{signals[self.signal]} in {self.segment}"


class SegmentWatch:
    """The segments of one model version in one stage.

    Parameters
    ----------
    spec, layout
        With a frozen reference and segments.
    table
        Of the layout.
    whole
        What the model's own signals are compared with.
    """

    def __init__(self, spec: ModelSpec, layout: Layout, table: SegmentTable, whole: list[SignalBaseline]) -> None:
        self._spec, self._layout, self._table = spec, layout, table
        self.threshold = segment_threshold_of(spec)
        self._baselines = segment_baselines(spec, layout, whole)
        self._keys = [_Key(name, number, signal) for number, name in enumerate(table.names) for signal in table.signals]
        self.names = tuple(key.name(layout.signals) for key in self._keys)
        self._engine = EvidenceEngine(self._baselines, log_threshold=self.threshold)
        self._tiers = Tiers(self._baselines, log_threshold=self.threshold, quiet_steps=spec.tiers.quiet_steps)
        self.onsets = Onsets(self.names)
        self._bins = np.concatenate([np.arange(layout.width)[layout.slices[signal]] for signal in table.signals])
        self._slices = _slices([layout.binners[signal].width for signal in table.signals])
        self._reference = np.array([vector[self._bins] for vector in segment_vectors(spec, layout)], dtype=np.float64)
        self._whole = {signal: whole[signal] for signal in table.signals}
        self._mix = MixCounts(len(table), len(self._bins))
        self._needed = spec.steps.min_rows * max(len(group.values) for group in table.groups)
        self._open = OpenStep()
        self._waited = 0
        self._named: set[int] = set()
        self.readings: Sequence[SignalReading] = self._engine.step({})

    # ------------------------------------------------------------------------------------------------- the path

    def watched(self) -> list[Watched]:
        """What an incident needs to know of each signal, in the order of the readings."""
        weights = importances(self._spec)
        pairs = zip(self.names, self._keys, self._baselines, strict=True)
        return [Watched(name, weights[self._layout.signals[key.signal]], each.opens) for name, key, each in pairs]

    def step(self, step: OpenStep, now: Mark) -> None:
        """Take in a step of the whole; where that completes one of the segments, judge it."""
        rows = self._layout.step_rows(step.whole)
        self._mix.add(step.whole[self._bins], self._matrix(step), rows)
        for phase, vector in step.parts.items():
            self._open.parts[phase] = self._open.parts[phase] + vector if phase in self._open.parts else vector
        for number, vector in step.segments.items():
            before = self._open.segments.get(number)
            self._open.segments[number] = vector if before is None else before + vector
        self._open.rows += rows
        self._waited += 1
        if self._waited < (FEWEST_STEPS if self._open.rows >= self._needed else MOST_STEPS):
            return
        self.readings = self._engine.step(self._by_phase(self._open))
        self._open, self._waited = OpenStep(), 0
        self.onsets.update([replace(r, name=name) for r, name in zip(self.readings, self.names, strict=True)], now)
        for index, tier in self._tiers.update(self.readings).items():
            self._engine.reset(index, above=tier.rank)

    def _by_phase(self, step: OpenStep) -> dict[int, list[NDArray[Any]]]:
        """Counts of all signals by phase: rows of segments are spread over phases as all rows of the step are."""
        counts = self._matrix(step)
        for line, signal in enumerate(self._table.signals):
            for place in self._layout.uncompared(signal):
                counts[:, self._slices[line].stop + place] = 0
        rows = {phase: self._layout.row_count(vector) for phase, vector in step.parts.items()}
        total = max(sum(rows.values()), 1)
        return {phase: [counts.ravel() * (each / total)] for phase, each in rows.items() if each}

    def _matrix(self, step: OpenStep) -> NDArray[np.int64]:
        """Counts of a step by segment and bin of the judged signals: (S, W)."""
        counts = np.zeros(self._reference.shape, dtype=np.int64)
        for number, vector in step.segments.items():
            counts[number] = vector[self._bins]
        return counts

    def tiers(self, whole: Sequence[Tier]) -> list[Tier]:
        """Tiers of all signals of segments, none where the whole shows as much; ``whole`` holds those of its signals.

        Which are named is remembered.
        """
        current = self._tiers.current
        hidden = [i for i, key in enumerate(self._keys) if current[i].rank > whole[key.signal].rank]
        kept = {i for i in hidden if i in self._named}
        taken = {signal: sum(self._keys[i].signal == signal for i in kept) for signal in self._table.signals}
        for i in sorted(set(hidden) - kept, key=lambda i: (-current[i].rank, -self.readings[i].score, i)):
            if taken[self._keys[i].signal] < MOST_NAMED:
                taken[self._keys[i].signal] += 1
                kept.add(i)
        self._named = kept
        return [tier if i in kept else Tier.NONE for i, tier in enumerate(current)]

    # ------------------------------------------------------------------------------------------- what is known

    def evidence(self) -> list[tuple[float, float, float]]:
        """Evidence of each signal as it stands now, in nats."""
        return [(minor, moderate, worst) for minor, moderate, worst in self._engine.evidence.T.tolist()]

    def subject(self, index: int) -> tuple[str, str]:
        """The signal and the segment of a reading."""
        key = self._keys[index]
        return self._layout.signals[key.signal], key.segment

    def verdict(self, index: int, member: Member) -> SignalVerdict:
        """Say what a signal of a segment means."""
        key, reading = self._keys[index], self.readings[index]
        signal = self._layout.signals[key.signal]
        bins = frozen_bins(self._spec)[signal]
        mean = mean_of(reading.current, bins) if isinstance(bins, NumberBins) else None
        as_signal = replace(member, index=key.signal, name=signal)
        baseline = self._baselines[index]
        said = explain(self._layout, as_signal, reading, baseline, threshold=self.threshold, mean=mean)
        return said.model_copy(update={"segment": key.segment})

    def decompositions(self, reading: SignalReading, signal: int) -> list[tuple[SegmentGroup, Decomposition]]:
        """Take the change of a signal of the whole apart by each field; none where it is not judged in segments.

        Not by itself: the feature by which rows are broken down is all mix.
        """
        if signal not in self._table.signals or reading.rows <= 0:
            return []
        where = self._slices[self._table.signals.index(signal)]
        ever = self._whole[signal].phases[WHOLE].astype(np.float64)
        costs, found = self._whole[signal].losses, []
        name = self._layout.signals[signal]
        for group in self._table.groups:
            if name in map(feature_signal, group.name.split(PAIR)):
                continue
            before = self._reference[group.first : group.numbers.stop, where]
            before = np.vstack([before, np.maximum(ever - before.sum(axis=0), 0.0)])
            now = self._mix.of(reading.half_life, group.numbers, where)
            for place in self._layout.uncompared(signal):
                now[:, place], before[:, place] = 0.0, 0.0
            if now.sum() > 0 and before.sum() > 0:
                found.append((group, decompose(now, before, reading.reference, costs)))
        return found

    def statuses(self) -> tuple[SignalStatus, ...]:
        """Signals of segments that are part of the incident."""
        current = self._tiers.current
        return tuple(
            SignalStatus(
                signal=self._layout.signals[self._keys[i].signal],
                segment=self._keys[i].segment,
                tier=current[i],
                score=round(self.readings[i].score, 6),
                evidence=round(self.readings[i].evidence[max(current[i].rank - 1, 0)], 3),
                threshold=round(self.threshold, 3),
            )
            for i in sorted(self._named)
        )

    def standing(self, signals: Sequence[SignalReading]) -> tuple[SegmentStatus, ...]:
        """Where each segment stands; ``signals`` are the readings of the whole, of which some hold the shares."""
        found, tiers, width = [], self._tiers.current, len(self._table.signals)
        for group in self._table.groups:
            shares = signals[group.signal]
            now, before = (_of_segments(group, counts) for counts in (shares.current, shares.reference))
            for place, number in enumerate(group.numbers):
                mine = self.readings[number * width : (number + 1) * width]
                reasons = [each.not_judged for each in mine if each.not_judged is not None]
                found.append(
                    SegmentStatus(
                        segment=group.names[place],
                        expected_share=round(float(before[place]), 6),
                        share=round(float(now[place]), 6),
                        tier=max(tiers[number * width : (number + 1) * width], key=lambda tier: tier.rank),
                        signals=width,
                        judged=width - len(reasons),
                        not_judged=reasons[0] if reasons else None,
                    )
                )
        return tuple(found)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "engine": self._engine.state(),
            "tiers": self._tiers.state(),
            "onsets": self.onsets.state(),
            "mix": self._mix.state(),
            "open": self._open.state(),
            "waited": self._waited,
            "named": sorted(self._named),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same spec, to the last bit."""
        self._engine.restore(state["engine"])
        self._tiers.restore(state["tiers"])
        self.onsets.restore(state["onsets"])
        self._mix.restore(state["mix"])
        self._open, self._waited = OpenStep.restored(state["open"]), state["waited"]
        self._named = set(state["named"])
        self.readings = self._engine.step({})


def _slices(widths: Sequence[int]) -> list[slice]:
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


def _of_segments(group: SegmentGroup, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the segments of a field, (G,), of the counts of its signal's bins."""
    rows = np.bincount(group.of_bin, weights=counts, minlength=len(group.values) + 1)
    return rows[:-1] / max(float(rows.sum()), 1e-300)
