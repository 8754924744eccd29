"""The segments of a frozen reference: the categories of each field's signal, and one for all others if it had any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import CategoryBins, ModelSpec
from schemas.segments import SEGMENT

Ints = NDArray[np.int64]

OTHER: Final = "other"
"""What the segment of all values without a segment of their own is called; there is one if the reference had some."""
MOST_CELLS: Final = 16_384
"""Bins of all signals of all segments together: they are judged and saved with the model."""


@dataclass(frozen=True, slots=True)
class SegmentGroup:
    """The segments of one field or pair.

    Attributes
    ----------
    name
        Such as ``country`` or ``country+device``.
    signal
        Index of the signal that watches their shares.
    first
        Number of the first segment.
    values
        What the rows of each segment have in the field; the last may be ``other``.
    of_bin
        (B,) by bin of the signal: which of its segments the rows are in, ``len(values)`` for none.
    """

    name: str
    signal: int
    first: int
    values: tuple[str, ...]
    of_bin: Ints

    @property
    def numbers(self) -> range:
        """Numbers of its segments."""
        return range(self.first, self.first + len(self.values))

    @property
    def names(self) -> tuple[str, ...]:
        """Such as ``country=DE``."""
        return tuple(f"{self.name}={value}" for value in self.values)


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """All segments of a reference, numbered from 0, and the signals that are judged in each.

    Attributes
    ----------
    groups
        In the order of the spec: fields, then pairs.
    signals
        Indices of the judged signals, ascending.
    """

    groups: tuple[SegmentGroup, ...]
    signals: tuple[int, ...]

    def __len__(self) -> int:
        """How many segments there are."""
        return sum(len(group.values) for group in self.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """By number, such as ``country=DE``."""
        return tuple(name for group in self.groups for name in group.names)

    @classmethod
    def of(cls, spec: ModelSpec) -> SegmentTable | None:
        """Read it off a spec with a frozen reference; None where nothing is broken down.

        Raises
        ------
        ValueError
            If the signal of a field has no categories.
        """
        if spec.segments is None or spec.reference.frozen is None:
            return None
        groups: list[SegmentGroup] = []
        first = 0
        for index, signal in enumerate(spec.signals):
            if signal in spec.segment_signals:
                groups.append(_group(signal, index, first, spec.reference.frozen.bins[signal]))
                first += len(groups[-1].values)
        return cls(tuple(groups), judged_signals(spec))


def signals_in_segments(spec: ModelSpec) -> int:
    """How many signals all segments have together; 0 where nothing is broken down, or there is no reference yet."""
    table = SegmentTable.of(spec)
    return 0 if table is None else len(table) * len(table.signals)


def judged_signals(spec: ModelSpec) -> tuple[int, ...]:
    """Return the indices of the signals that are judged in each segment."""
    if spec.segments is None:
        return ()
    wanted = spec.segmentable if spec.segments.signals is None else spec.segments.signals
    return tuple(i for i, signal in enumerate(spec.signals) if signal in wanted)


def _group(signal: str, index: int, first: int, bins: object) -> SegmentGroup:
    if not isinstance(bins, CategoryBins):
        raise ValueError(f"{signal} must have categories")
    own = len(bins.categories)
    has_other = bool(bins.other) or own == 0
    values = (*bins.categories, *([OTHER] if has_other else []))
    # `other` and `unseen` are one segment, if there is one for them; missing and invalid are in none
    rest = own if has_other else len(values)
    of_bin = np.array([*range(own), rest, rest, len(values), len(values)], dtype=np.int64)
    return SegmentGroup(signal.removeprefix(SEGMENT), index, first, values, of_bin)


def check_size(table: SegmentTable, widths: Sequence[int]) -> None:
    """Refuse a breakdown that is too large to be judged.

    Parameters
    ----------
    widths
        Bins of each signal of the model.

    Raises
    ------
    ValueError
        If it is; the sentence says what would help.
    """
    bins = sum(widths[signal] for signal in table.signals)
    if len(table) * bins > MOST_CELLS:
        raise ValueError(
            f"{len(table)} segments with {bins} bins each are {len(table) * bins:,} to be judged, and {MOST_CELLS:,} "
            f"can be: lower segments.top, leave out pairs, or name under segments.signals what is judged in segments"
        )
