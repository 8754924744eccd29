"""How bursty the rows of each segment of a reference are: one that repeated callers fill is worth fewer rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.bins import Binner
from detector.rows import Column, Rows
from detector.segments.table import SegmentTable

Measure = Callable[[int, Rows, Column, NDArray[np.bool_]], float]
"""Burstiness of a signal's column among some of the rows (n,) of a piece."""


def segment_dispersion(
    table: SegmentTable,
    binners: Sequence[Binner],
    carriers: Sequence[tuple[Rows, Column] | None],
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
                measured[name][line] = measure(signal, rows, column, places[id(rows)] == number)
    return {name: tuple(np.round(each, 4).tolist()) for name, each in measured.items()}
