"""Bins of a signal: cut from the reference once, then applied to every row.

Numbers are cut at quantiles. A value that holds a tenth of the reference or more is an atom and has the bin
``[v, nextafter(v))`` to itself, so that a feature that is nearly always 0 is watched for leaving 0; what lies between
atoms is cut at its own quantiles. A number with few distinct values has one bin for each. So a constant has one bin,
and any other value is underflow or overflow. A column without a single number has one bin nobody was ever in, and
shows a change when numbers begin to come.

Categories that are frequent enough have bins of their own, rarer ones share ``other``, and what the reference never
had is ``unseen``. Missing values and values that are not of the type have bins too: their shares are part of the
distribution. Nothing here ever looks at rows that are not of the reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from detector.rows import FALSE, INVALID, TRUE, Column
from schemas.model_spec import Bins, CategoryBins, NumberBins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_BINS: Final = 10
"""Quantile bins of a number; deciles, as PSI is usually computed."""
MAX_CATEGORIES: Final = 50
FEW_VALUES: Final = 15
"""A number with at most so many distinct values has one bin for each."""
LOSS_ROW_BINS: Final = 5
LOSS_MASS_BINS: Final = 10
"""Bins of a loss, cut at quantiles of its rows, and of its sum."""
ROWS_PER_BIN: Final = 20
"""Reference rows that a quantile bin should hold at least."""
RARE_SHARE: Final = 0.005
RARE_ROWS: Final = 5
"""A category with a smaller share, or fewer rows, is too rare for a bin of its own."""
MAX_KNOWN: Final = 2_000
MAX_TEXT: Final = 256
"""So many categories of at most so many characters are remembered; all others are ``unseen``, to the reference too."""
LARGEST: Final = 1e300
"""Numbers further out than this are left out when bins are cut: their squares have no place in a float."""

TRAILING_NUMBER: Final = ("overflow", "missing", "invalid")
TRAILING_CATEGORY: Final = ("other", "unseen", "missing", "invalid")


class Binner(Protocol):
    """Says which bin each value of a column is in."""

    width: int
    """Number of bins, B."""

    def index(self, column: Column) -> Ints:
        """Bin of each value, shape (n,), 0 to B - 1."""

    def labels(self) -> tuple[str, ...]:
        """What people call the bins, B of them."""


def fit_number_bins(values: Floats, max_bins: int = MAX_BINS) -> NumberBins:
    """Cut bins from the values of the reference.

    Parameters
    ----------
    values
        (n,) values; NaN (missing) and infinities (invalid) are passed over.
    max_bins
        Quantile bins wanted; small references get fewer, atoms add theirs.
    """
    with np.errstate(invalid="ignore"):
        numbers = np.sort(values[np.abs(values) <= LARGEST]) + 0.0  # -0.0 becomes 0.0
    if not len(numbers):
        return NumberBins(edges=(0.0, 1.0), means=(0.5,), center=0.0, scale=1.0)
    edges = np.array(_number_edges(numbers, max(2, min(max_bins, len(numbers) // ROWS_PER_BIN))))
    spread = float(numbers[-1] - numbers[0])
    deviation = float(np.std((numbers - numbers[0]) / spread)) * spread if spread > 0 else 0.0
    return NumberBins(
        edges=tuple(edges.tolist()),
        means=tuple(_bin_means(numbers, edges)),
        center=float(numbers[(len(numbers) - 1) // 2]),
        scale=deviation if deviation > 0 else 1.0,
    )


def fit_loss_bins(losses: Floats) -> NumberBins:
    """Cut bins of a loss so that its mean can be read from their counts.

    About a fifth of the rows, at most, lies in a bin, and about a tenth of the losses' sum: the tail of a loss is small
    in rows and large in what it costs, and rows of one bin all cost what they cost the reference on average.
    Losses with few distinct values have a bin for each, as other numbers have.
    """
    plain = fit_number_bins(losses)
    with np.errstate(invalid="ignore"):
        numbers = np.sort(losses[np.abs(losses) <= LARGEST]) + 0.0
    mass = np.cumsum(numbers)
    if len(np.unique(numbers)) <= FEW_VALUES or not mass[-1] > 0:
        return plain
    at_rows = np.arange(1, LOSS_ROW_BINS) * len(numbers) // LOSS_ROW_BINS
    at_mass = np.searchsorted(mass, mass[-1] * np.arange(1, LOSS_MASS_BINS) / LOSS_MASS_BINS)
    starts = np.unique(np.concatenate([at_rows, at_mass]))
    inner = np.unique(numbers[starts[starts < len(numbers)]])
    inner = inner[(inner > numbers[0]) & (inner < numbers[-1])]
    edges = np.concatenate([numbers[:1], inner, numbers[-1:]])
    full = np.diff(np.searchsorted(numbers, edges[:-1]), append=len(numbers)) > 0
    edges = np.concatenate([edges[:-1][full], edges[-1:]])
    return plain.model_copy(update={"edges": tuple(edges.tolist()), "means": tuple(_bin_means(numbers, edges))})


def _number_edges(numbers: Floats, wanted: int) -> list[float]:
    """Ascending edges for sorted numbers: atoms first, then quantiles of what lies between them."""
    values, counts = np.unique(numbers, return_counts=True)
    if len(values) <= FEW_VALUES:
        return [*values.tolist(), _after(values[-1])]
    atoms = values[counts >= len(numbers) / wanted]
    rest = len(numbers) - int(counts[np.isin(values, atoms)].sum())
    # Between atoms, a bin holds a fair share of the rest, but no less than a quarter of a plain quantile bin.
    target = max(rest / max(wanted - len(atoms), 2), len(numbers) / (4 * wanted))
    edges: list[float] = []
    between = np.split(values, np.searchsorted(values, atoms))
    tallies = np.split(counts, np.searchsorted(values, atoms))
    for position, (stretch, tally) in enumerate(zip(between, tallies, strict=True)):
        if position > 0:  # each stretch but the first begins with its atom
            edges.append(float(stretch[0]))
            stretch, tally = stretch[1:], tally[1:]  # noqa: PLW2901
            if len(stretch):
                edges.append(_after(edges[-1]))
        edges += _quantile_edges(stretch, tally, target, begins=position == 0)
    last = float(values[-1])
    return [*edges, last if last > edges[-1] else _after(last)]


def _quantile_edges(values: Floats, counts: Ints, target: float, *, begins: bool) -> list[float]:
    """Lower edges of the bins of a stretch without atoms; the first is left out where an atom's end stands there."""
    if not len(values):
        return []
    bins = max(1, round(float(counts.sum()) / target))
    ends = np.cumsum(counts)
    # The value at which each quantile is reached begins the next bin.
    starts = np.unique(np.searchsorted(ends, ends[-1] * np.arange(1, bins) / bins, side="right"))
    inner = [_shortest(float(values[i - 1]), float(values[i])) for i in starts.tolist() if 0 < i < len(values)]
    return [float(values[0]), *inner] if begins else inner


def _after(value: float) -> float:
    return float(np.nextafter(value, np.inf))


def _shortest(below: float, upto: float) -> float:
    """Find the number with the fewest digits in (below, upto]: it cuts the reference just as ``upto`` does."""
    for digits in range(1, 17):
        candidate = float(f"{upto:.{digits}g}")
        if below < candidate <= upto:
            return candidate
    return upto


def _bin_means(numbers: Floats, edges: Floats) -> list[float]:
    """Mean of the numbers in each bin; every bin has some."""
    starts = np.searchsorted(numbers, edges[:-1])
    sizes = np.diff(starts, append=len(numbers))
    means = np.clip(np.add.reduceat(numbers, starts) / sizes, edges[:-1], edges[1:])
    return cast(list[float], means.tolist())


def fit_category_bins(values: Iterable[str | None], max_categories: int = MAX_CATEGORIES) -> CategoryBins:
    """Name the categories of the reference; missing and invalid values are passed over."""
    counts = Counter(value for value in values if value is not None and value != INVALID)
    short = [(value, count) for value, count in counts.items() if len(value) <= MAX_TEXT]
    known = sorted(short, key=lambda item: (-item[1], item[0]))[:MAX_KNOWN]
    enough = max(RARE_ROWS, RARE_SHARE * counts.total())
    own = [value for value, count in known[:max_categories] if count >= enough]
    if len(known) <= FEW_VALUES:
        own = [value for value, _ in known[:max_categories]]
    return CategoryBins(
        categories=tuple(own),
        other=tuple(value for value, _ in known[len(own) :]),
        singletons=sum(count == 1 for _, count in known),
    )


def boolean_bins() -> CategoryBins:
    """Both truth values, whichever of them the reference has."""
    return CategoryBins(categories=(FALSE, TRUE))


class NumberBinner:
    """Bins of a number, in the order underflow, the bins, overflow, missing, invalid.

    A number's bin is how many of the ascending ``cuts`` it reaches: the layout counts that for all signals at once.
    """

    def __init__(self, bins: NumberBins) -> None:
        edges = np.array(bins.edges)
        if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            raise ValueError("edges of bins must be finite and ascending")
        self.bins = bins
        self.cuts = np.append(edges[:-1], np.nextafter(edges[-1], np.inf))
        """The lower edges and the first number beyond the last bin, which holds its upper edge."""
        self.width = len(edges) + 3
        self.missing, self.invalid = self.width - 2, self.width - 1

    def index(self, column: Column) -> Ints:
        """Bin of each value."""
        values = cast(Floats, column)
        places = self.cuts.searchsorted(values, side="right")
        places[np.isnan(values)] = self.missing
        places[np.isinf(values)] = self.invalid
        return places

    def labels(self) -> tuple[str, ...]:
        """``< 1.5``, ``[1.5, 2)``, a lone value where the bin holds just that, ``> 9``, ``missing``, ``invalid``."""
        edges = self.bins.edges
        names = _edge_names(edges)
        inner = [
            names[i] if edges[i + 1] == _after(edges[i]) else f"[{names[i]}, {names[i + 1]})"
            for i in range(len(edges) - 1)
        ]
        if inner[-1].endswith(")"):
            inner[-1] = f"{inner[-1][:-1]}]"
        return (f"< {names[0]}", *inner, f"> {names[-1]}", *TRAILING_NUMBER[1:])


def _edge_names(edges: Sequence[float]) -> list[str]:
    """Edges in as few digits as tell them apart; the end of an atom is called by the atom's name."""
    for digits in range(6, 17):
        names = [f"{edge:.{digits}g}" for edge in edges]
        if all(names[i] != names[i - 1] or edges[i] == _after(edges[i - 1]) for i in range(1, len(edges))):
            break
    for i in range(1, len(edges)):
        if edges[i] == _after(edges[i - 1]):
            names[i] = names[i - 1]
    return names


class CategoryBinner:
    """Bins of a category, in the order categories, other, unseen, missing, invalid."""

    def __init__(self, bins: CategoryBins) -> None:
        self.bins = bins
        other = len(bins.categories)
        self.width = other + len(TRAILING_CATEGORY)
        self.unseen = other + 1
        self._places: dict[str | None, int] = dict.fromkeys(bins.other, other)
        self._places |= {category: place for place, category in enumerate(bins.categories)}
        self._places |= {None: other + 2, INVALID: other + 3}

    def index(self, column: Column) -> Ints:
        """Bin of each value."""
        place, unseen = self._places.get, self.unseen
        return np.array([place(value, unseen) for value in cast(list[str | None], column)], dtype=np.int64)

    def labels(self) -> tuple[str, ...]:
        """The categories, then ``other``, ``unseen``, ``missing``, ``invalid``."""
        return (*self.bins.categories, *TRAILING_CATEGORY)


def make_binner(bins: Bins) -> Binner:
    """Make the binner that the bins' kind asks for."""
    return NumberBinner(bins) if isinstance(bins, NumberBins) else CategoryBinner(bins)
