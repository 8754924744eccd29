"""How bursty the rows of each segment of a reference are: one that repeated callers fill is worth fewer rows.

Burstiness is the scatter of block means, and few rows are too few blocks to see it. A segment with less than
`MEASURED_ROWS` rows borrows it from the whole: it is taken for at least as bursty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.bins import Binner
from detector.rows import Column, Rows
from detector.segments.table import SegmentTable

MEASURED_ROWS: Final = 1_024
"""Sixteen blocks of 64 rows (`detector.dispersion`)."""

Measure = Callable[[int, Rows, Column, NDArray[np.bool_]], float]
"""Burstiness of a signal's column among some of the rows (n,) of a piece."""


def segment_dispersion(
    table: SegmentTable,
    binners: Sequence[Binner],
    carriers: Sequence[tuple[Rows, Column] | None],
    whole: Sequence[float],
    measure: Measure,
) -> dict[str, tuple[float, ...]]:
    """Measure it by segment, for each judged signal.

    Parameters
    ----------
    binners
        Of all signals of the model.
    carriers
        For each of ``table.signals`` the rows of the reference that carry it, in their own order, and its column; None
        where none do.
    whole
        Burstiness of each of ``table.signals`` among all rows.
    """
    measured = {name: np.ones(len(table.signals)) for name in table.names}
    for group in table.groups:
        places: dict[int, NDArray[np.int64]] = {}
        for line, (signal, carrier) in enumerate(zip(table.signals, carriers, strict=True)):
            known = None if carrier is None else carrier[0].known(group.signal)
            if carrier is None or known is None:
                continue
            rows, column = carrier
            if id(rows) not in places:
                places[id(rows)] = group.of_bin[binners[group.signal].index(known)]
            for number, name in enumerate(group.names):
                among = places[id(rows)] == number
                borrowed = whole[line] if among.sum() < MEASURED_ROWS else 1.0
                measured[name][line] = max(measure(signal, rows, column, among), borrowed)
    return {name: tuple(np.round(each, 4).tolist()) for name, each in measured.items()}
