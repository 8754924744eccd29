"""Rows collected into blocks of one size, so that what is learned does not depend on how they came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Blocks:
    """Cuts rows of ``width`` values into blocks of ``rows``; fewer than that wait."""

    def __init__(self, width: int, rows: int) -> None:
        self._rows, self._waiting = rows, np.empty((0, width))

    def push(self, lines: Floats) -> Iterator[Floats]:
        """Take rows (n, width); yield every block that they fill."""
        joined = np.concatenate([self._waiting, lines])
        full = len(joined) // self._rows * self._rows
        self._waiting = joined[full:]
        yield from joined[:full].reshape(-1, self._rows, joined.shape[1])

    def state(self) -> Floats:
        """Return what `restore` takes: the rows that wait."""
        return self._waiting.copy()

    def restore(self, state: Any) -> None:
        """Continue with saved rows.

        Raises
        ------
        ValueError
            If they are too many, or of another width.
        """
        if state.ndim != 2 or state.shape[1] != self._waiting.shape[1] or len(state) >= self._rows:
            raise ValueError(f"saved rows of shape {state.shape} do not fit blocks of {self._rows} rows")
        self._waiting = state.copy()
