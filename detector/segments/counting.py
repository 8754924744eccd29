"""Counts the rows of a block by segment: the positions of their bins are known, and are counted again for each field.

The vector of a segment is the head of a layout's vector: rows by source, then the bins of all signals. Of these only
the judged signals' are counted.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.bins import Binner
from detector.profile import SegmentKey, Vector
from detector.rows import STAGES, Rows
from detector.segments.table import SegmentGroup, SegmentTable

Ints = NDArray[np.int64]


class SegmentCounter:
    """Counts blocks of rows by stage and segment.

    Parameters
    ----------
    table
        The segments.
    slices, binners
        Where the bins of each signal stand in a vector, and which they are.
    counted
        Numbers of the segments that are counted; None: all.
    """

    def __init__(
        self,
        table: SegmentTable,
        slices: Sequence[slice],
        binners: Sequence[Binner],
        counted: Container[int] | None = None,
    ) -> None:
        self._slices, self._binners = slices, binners
        self._width = slices[table.signals[-1]].stop
        self._judged = frozenset(table.signals)
        numbers = (number for group in table.groups for number in group.numbers)
        self._counted = frozenset(number for number in numbers if counted is None or number in counted)
        self._groups = [group for group in table.groups if not self._counted.isdisjoint(group.numbers)]

    def count(self, rows: Rows, rows_at: int, lines: Sequence[int], places: Ints) -> dict[SegmentKey, Vector]:
        """Count a block; segments without rows are left out.

        Parameters
        ----------
        rows
            (n,) of the block.
        rows_at
            Where the rows of this source stand in a vector.
        lines
            Signals that the rows carry, in the order of ``places``.
        places
            (len(lines), n) positions of their bins in the vector.
        """
        kept = [line for line, signal in enumerate(lines) if signal in self._judged]
        judged = places if len(kept) == len(lines) else places[kept]
        counted: dict[SegmentKey, Vector] = {}
        for group in self._groups:
            signal = group.signal
            if signal in lines:
                bins = places[lines.index(signal)] - self._slices[signal].start
            elif (column := rows.known(signal)) is not None:
                bins = self._binners[signal].index(column)
            else:
                continue
            counted |= self._count_group(group, rows.stages, group.of_bin[bins], rows_at, judged)
        return counted

    def _count_group(
        self, group: SegmentGroup, stages: NDArray[np.int8], segments: Ints, rows_at: int, places: Ints
    ) -> dict[SegmentKey, Vector]:
        """Count by one field; ``segments`` (n,) are numbers within the group, the one behind the last for none."""
        sorts = len(group.values) + 1
        codes = segments
        if stages.any():  # production is 0, and nearly always alone
            codes = stages * np.int64(sorts) + segments
        parts = sorts * (int(stages.max()) + 1)
        size = parts * self._width
        vectors = np.bincount((places + codes * self._width).ravel(), minlength=size).reshape(parts, self._width)
        rows = vectors[:, rows_at] = np.bincount(codes, minlength=parts)
        counted = {}
        for code in np.flatnonzero(rows).tolist():
            stage, segment = divmod(code, sorts)
            if group.first + segment in self._counted and segment < sorts - 1:
                counted[STAGES[stage], group.first + segment] = vectors[code].copy()
        return counted
