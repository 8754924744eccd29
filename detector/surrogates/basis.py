"""Features as columns that a linear model can learn from at once: ranks, indicators and their products.

A number becomes its rank in the reference, from -sqrt(3) to sqrt(3), so that its variance is 1 and no outlier pulls; a
category becomes indicators of its most frequent values, of variance 1 as well. Products of pairs show correlations that
flip while every feature by itself stays as it was; squares show a spread that changed. Everything comes from the frozen
reference, nothing from the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.bins import NumberBinner
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.reference import reference_vectors
from schemas.model_spec import CategoryBins, ModelSpec, NumberBins

Floats = NDArray[np.float64]
Bytes = NDArray[np.int8]

MOST_FEATURES: Final = 64
"""The most important features that surrogates look at (in the spec's order, where it gives no importance)."""
MOST_LINEAR: Final = 96
MOST_IN_PRODUCTS: Final = 12
"""The first so many columns are multiplied with each other: 78 products."""
MOST_INDICATORS: Final = 6
RARE: Final = 0.01
"""Values with a smaller share, or missing ones, have no indicator."""
CODES: Final = 127
"""Ranks as a tree sees them: -127 to 127."""


@dataclass(frozen=True, slots=True)
class _Rank:
    """A number's rank in the reference, by linear interpolation between its bins."""

    at: Floats
    ranks: Floats

    def read(self, values: Floats) -> Floats:
        ranks = np.interp(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), self.at, self.ranks)
        return np.asarray(np.where(np.isfinite(values), ranks, 0.0))


@dataclass(frozen=True, slots=True)
class _Column:
    """One column before products are made."""

    feature: int
    name: str
    rank: _Rank | None
    """None: an indicator."""
    code: float = np.nan
    """Bin that is indicated; NaN: that a number is missing."""
    share: float = 0.5

    def read(self, values: Floats) -> Floats:
        if self.rank is not None:
            return np.asarray(self.rank.read(values) * np.sqrt(3.0))
        hit = ~np.isfinite(values) if np.isnan(self.code) else values == self.code
        return np.asarray((hit - self.share) / np.sqrt(self.share * (1 - self.share)))


class Basis:
    """The columns of one model.

    Parameters
    ----------
    spec
        With a frozen reference.
    layout
        Of that spec.

    Attributes
    ----------
    names
        Of the columns, (K,): ``1`` (a constant), ``x``, ``colour=red``, ``x * y``.
    linear
        So many columns stand before the products, the constant among them.
    features
        Indices of the features that are looked at.
    """

    def __init__(self, spec: ModelSpec, layout: Layout) -> None:
        self._layout = layout
        counts = layout.signal_counts(reference_vectors(spec, layout)[WHOLE])
        order = sorted(range(len(spec.features)), key=lambda i: (-spec.features[i].importance, i))
        self.features = tuple(sorted(order[:MOST_FEATURES]))
        columns = [each for i in self.features for each in _columns(spec.features[i].name, layout, i, counts[i])]
        self._columns: Sequence[_Column] = columns[:MOST_LINEAR]
        in_products = range(min(MOST_IN_PRODUCTS, len(self._columns)))
        self._pairs = [
            (i, j)
            for i, j in combinations_with_replacement(in_products, 2)
            if self._columns[i].feature != self._columns[j].feature or (i == j and self._columns[i].rank is not None)
        ]
        self.linear = 1 + len(self._columns)
        names = [column.name for column in self._columns]
        self.names = ("1", *names, *(f"{names[i]} * {names[j]}" for i, j in self._pairs))
        self._ranks: Mapping[int, _Rank] = {each.feature: each.rank for each in self._columns if each.rank is not None}

    def __len__(self) -> int:
        """Columns, K."""
        return len(self.names)

    def read(self, table: Floats) -> Floats:
        """Return the columns of rows of a table (`detector.reference_rows`): (n, K)."""
        single = [column.read(table[:, column.feature]) for column in self._columns]
        products = [single[i] * single[j] - float(i == j) for i, j in self._pairs]
        return np.column_stack([np.ones(len(table)), *single, *products])

    def codes(self, table: Floats) -> Floats:
        """Return whole numbers from -127 to 127 for a tree, (n, F): ranks of numbers, bins of everything else."""
        out = np.empty((len(table), len(self.features)))
        for place, feature in enumerate(self.features):
            values, rank = table[:, feature], self._ranks.get(feature)
            out[:, place] = np.nan_to_num(values) if rank is None else np.rint(rank.read(values) * CODES)
        return np.clip(out, -CODES, CODES)

    def knows(self, table: Floats) -> NDArray[np.bool_]:
        """Tell for which rows any feature is known, (n,)."""
        return np.asarray(np.isfinite(table[:, list(self.features)]).any(axis=1))

    def weight_by_feature(self, weights: Floats) -> Floats:
        """Share out squared weights of the columns, (K,), among all features of the model: (features,)."""
        out = np.zeros(len(self._layout.spec.features))
        owners: list[tuple[int, ...]] = [(column.feature,) for column in self._columns]
        owners += [(self._columns[i].feature, self._columns[j].feature) for i, j in self._pairs]
        for weight, owner in zip(weights[1:].tolist(), owners, strict=True):
            for feature in owner:
                out[feature] += weight**2 / len(owner)
        return out


def rank_of(bins: NumberBins, counts: NDArray[np.int64]) -> _Rank:
    """Make the ranks of a number, from -1 to 1: each bin's mean stands at its middle rank."""
    inner = counts[1:-3].astype(np.float64) + 1e-9
    ends = np.concatenate([[0.0], np.cumsum(inner) / inner.sum()])
    at = np.array([bins.edges[0], *bins.means, bins.edges[-1]])
    ranks = np.concatenate([[0.0], (ends[1:] + ends[:-1]) / 2, [1.0]])
    keep = np.concatenate([[at[1] > at[0]], np.ones(len(inner), dtype=bool), [at[-1] > at[-2]]])
    return _Rank(at[keep], 2 * ranks[keep] - 1)


def _columns(name: str, layout: Layout, feature: int, counts: NDArray[np.int64]) -> list[_Column]:
    bins = layout.spec.reference.frozen and layout.spec.reference.frozen.bins[layout.signals[feature]]
    binner = layout.binners[feature]
    rows = max(int(counts.sum()), 1)
    if isinstance(binner, NumberBinner):
        found = [_Column(feature, name, rank_of(binner.bins, counts))]
        missing = float(counts[-2:].sum()) / rows
        return [*found, _Column(feature, f"{name} missing", None, np.nan, missing)] if _usual(missing) else found
    labels = bins.categories if isinstance(bins, CategoryBins) else ()
    shares = [(label, code, float(counts[code]) / rows) for code, label in enumerate(labels[:MOST_INDICATORS])]
    found = [
        _Column(feature, f"{name}={label}", None, float(code), share) for label, code, share in shares if _usual(share)
    ]
    # Of two values that fill the feature, one tells both.
    return found[:-1] if len(found) > 1 and sum(each.share for each in found) > 1 - RARE else found


def _usual(share: float) -> bool:
    return RARE <= share <= 1 - RARE
