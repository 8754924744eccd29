"""What rows come to in a total's vector, computed from the spec with nothing but numpy; and how a vector is read.

::

    rows from features | predictions | outcomes | bins of each signal | sums | squares | pairs and lags

The last two are those of ``tests.faults.pairs``.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import CategoryBins, ModelSpec, NumberBins
from schemas.profiles import ProfileTotal
from tests.faults.pairs import SCORE, PairSections

Vector = NDArray[np.int64]

HEAD: Final = 3
FEATURES_AT: Final = 0
PREDICTIONS_AT: Final = 1
OUTCOMES_AT: Final = 2
_CLIP: Final = 4_096


class Section:
    """The bins of one signal, and its moments where it is a number."""

    def __init__(self, name: str, bins: NumberBins | CategoryBins, start: int) -> None:
        self.name = name
        self.bins = bins
        self.width = len(bins.edges) + 3 if isinstance(bins, NumberBins) else len(bins.categories) + 4
        self.where = slice(start, start + self.width)

    def count(self, values: Sequence[Any]) -> Vector:
        """Rows in each bin."""
        places = self._numbers(values) if isinstance(self.bins, NumberBins) else self._categories(values)
        return np.bincount(places, minlength=self.width).astype(np.int64)

    def _numbers(self, values: Sequence[Any]) -> NDArray[np.int64]:
        assert isinstance(self.bins, NumberBins)
        x, edges = np.array(values, dtype=np.float64), np.array(self.bins.edges)
        places = np.searchsorted(edges, x, side="right")
        places[x == edges[-1]] = len(edges) - 1
        places[np.isnan(x)], places[np.isinf(x)] = self.width - 2, self.width - 1
        return places.astype(np.int64)

    def _categories(self, values: Sequence[Any]) -> NDArray[np.int64]:
        assert isinstance(self.bins, CategoryBins)
        own = {category: place for place, category in enumerate(self.bins.categories)}
        other = dict.fromkeys(self.bins.other, len(own))
        missing, unseen = self.width - 2, len(own) + 1
        return np.array([missing if v is None else own.get(v, other.get(v, unseen)) for v in values], dtype=np.int64)

    def moments(self, values: Sequence[Any]) -> tuple[int, int]:
        """Sum in units of 2^-20 and sum of squares in units of 2^-16, of the distances from the center in scales."""
        assert isinstance(self.bins, NumberBins)
        center, scale = self.bins.center, self.bins.scale
        x = np.array(values, dtype=np.float64)
        x = np.clip(x[np.isfinite(x)], center - _CLIP * scale, center + _CLIP * scale)
        z = (x - center) / scale
        return int(np.rint(z * 2.0**20).sum()), int((np.rint(z * 2.0**8) ** 2).sum())


class Table:
    """Where everything of a spec stands."""

    def __init__(self, spec: ModelSpec) -> None:
        frozen = spec.reference.frozen
        assert frozen is not None
        assert spec.outcomes is not None
        self.sections: list[Section] = []
        at = HEAD
        for name in spec.signals:
            self.sections.append(Section(name, frozen.bins[name], at))
            at += self.sections[-1].width
        self.numbers = [section for section in self.sections if isinstance(section.bins, NumberBins)]
        self._sums_at, self._squares_at = at, at + len(self.numbers)
        self.pairs = PairSections(at + 2 * len(self.numbers), spec.outcomes.threshold)
        self.width = self.pairs.stop

    def count(self, row_at: int, rows: Sequence[Mapping[str, Any]]) -> Vector:
        """The vector of rows, each given by its values by signal; signals that no row has count nothing.

        The score of an outcome is not one of its signals: it was counted with the prediction.
        """
        vector = np.zeros(self.width, dtype=np.int64)
        vector[row_at] = len(rows)
        for section in self.sections:
            carried = section.name != SCORE or row_at != OUTCOMES_AT
            values = [row[section.name] for row in rows if carried and section.name in row]
            if not values:
                continue
            vector[section.where] = section.count(values)
            if section in self.numbers:
                place = self.numbers.index(section)
                vector[self._sums_at + place], vector[self._squares_at + place] = section.moments(values)
        if row_at == OUTCOMES_AT and rows:
            self.pairs.count(rows, vector)
        return vector

    def read(self, total: ProfileTotal | None) -> Vector:
        """The same entries of a total, all stages and phases together."""
        whole = np.zeros(self.width, dtype=np.int64)
        for part in total.parts if total is not None else ():
            for position, value in _entries(part.counts):
                whole[position] += value
        return whole

    def lost_and_double(self, expected: Vector, found: Vector) -> tuple[int, int]:
        """How many rows are missing and how many too many: as the signal shows that shows the most."""
        wheres = [slice(0, HEAD), *(section.where for section in self.sections)]
        differences = [(expected - found)[where] for where in wheres]
        lost = max(int(np.maximum(each, 0).sum()) for each in differences)
        return lost, max(int(np.maximum(-each, 0).sum()) for each in differences)

    def names(self, expected: Vector, found: Vector) -> list[str]:
        """Which parts of the vectors differ."""
        wheres = [("rows", slice(0, HEAD)), *((section.name, section.where) for section in self.sections)]
        wheres.append(("moments", slice(self._sums_at, self._squares_at + len(self.numbers))))
        wheres += self.pairs.where.items()
        return [name for name, where in wheres if (expected[where] != found[where]).any()]


def _entries(text: str) -> Iterator[tuple[int, int]]:
    """Positions and values of a vector as the ``profiles`` topic holds it: gaps, then zigzag values, bytes shuffled."""
    body = zlib.decompress(base64.b64decode(text))
    _format, _width, count = struct.unpack_from("<BII", body)
    gaps = _unshuffled(body[9 : 9 + 4 * count], "<u4")
    values = _unshuffled(body[9 + 4 * count :], "<u8").tolist()
    positions = (np.cumsum(gaps.astype(np.int64)) - 1).tolist()
    for position, value in zip(positions, values, strict=True):
        yield position, (value >> 1) ^ -(value & 1)


def _unshuffled(body: bytes, dtype: str) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(np.frombuffer(body, np.uint8).reshape(size, -1).T).view(dtype).reshape(-1)
