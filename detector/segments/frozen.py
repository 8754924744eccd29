"""What a reference says of each segment: what its signals are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detector.expectation import WHOLE
from detector.layout import Layout
from detector.profile import Profile, Vector
from detector.readings import SignalBaseline
from detector.reference import baseline_of, make_room_for_unseen
from schemas.model_spec import CategoryBins, FrozenReference, ModelSpec

Ints = NDArray[np.int64]


class BorrowedPhases(Mapping[int, Ints]):
    """Counts of a segment's signal by phase: its own are not known, how phases differ from the whole is.

    ``p_st ~ p_s p_t / p`` with p_s the segment's shares, p_t those of all rows in phase t, and p those of all rows.
    They are made when they are asked for, and rest on as many rows as the phase has, like those of all rows.

    Parameters
    ----------
    own
        (B,) of the segment, all phases together.
    whole
        (B,) of all rows by phase, ``WHOLE`` among them.
    """

    def __init__(self, own: Ints, whole: Mapping[int, Ints]) -> None:
        self._own, self._whole = own, whole

    def __getitem__(self, phase: int) -> Ints:
        if phase == WHOLE:
            return self._own
        in_phase, ever = self._whole[phase], self._whole[WHOLE]
        expected = self._own * ((in_phase + 0.5) / (in_phase.sum() + 1)) / ((ever + 0.5) / (ever.sum() + 1))
        return np.asarray(np.rint(expected * (in_phase.sum() / max(expected.sum(), 1e-300))), dtype=np.int64)

    def __iter__(self) -> Iterator[int]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)


def segment_vectors(spec: ModelSpec, layout: Layout) -> list[Vector]:
    """Decode the counts of the frozen reference by segment, of all stages together; zeros where it has none."""
    frozen = _frozen(spec)
    count = 0 if layout.segments is None else len(layout.segments)
    vectors = [np.zeros(layout.segment_width, dtype=np.int64) for _ in range(count)]
    for (_, number), vector in Profile.decode(frozen.profile, layout.width, layout.segment_width).segments.items():
        vectors[number] = vectors[number] + vector
    return vectors


def segment_baselines(spec: ModelSpec, layout: Layout, whole: list[SignalBaseline]) -> list[SignalBaseline]:
    """Say what the signals of segments are compared with: for each segment those of ``layout.segments.signals``.

    Parameters
    ----------
    whole
        What the model's own signals are compared with, in the order of ``spec.signals``.
    """
    table, frozen = layout.segments, _frozen(spec)
    if table is None:
        return []
    bursts = frozen.segment_dispersion or {}
    found = []
    for name, vector in zip(table.names, segment_vectors(spec, layout), strict=True):
        counts = layout.segment_counts(vector)
        measured = bursts.get(name, (1.0,) * len(table.signals))
        for signal, own, burst in zip(table.signals, counts, measured, strict=True):
            each = whole[signal]
            made = _with_room(spec, each.name, own, int(each.phases[WHOLE].sum()))
            phases: Mapping[int, Ints] = {WHOLE: made} if len(each.phases) == 1 else BorrowedPhases(made, each.phases)
            baseline = baseline_of(spec, each.name, phases)
            found.append(replace(baseline, dispersion=max(burst, 1.0), losses=each.losses))
    return found


def _with_room(spec: ModelSpec, signal: str, counts: Ints, rows: int) -> Ints:
    """Leave room for categories never seen before, in proportion to the segment's share of the rows."""
    bins = _frozen(spec).bins[signal]
    if not isinstance(bins, CategoryBins) or not bins.singletons:
        return counts.copy()
    return make_room_for_unseen(counts, round(bins.singletons * int(counts.sum()) / max(rows, 1)))


def _frozen(spec: ModelSpec) -> FrozenReference:
    if spec.reference.frozen is None:
        raise ValueError(f"{spec.model} {spec.version} has no reference yet: there is nothing to compare with")
    return spec.reference.frozen
