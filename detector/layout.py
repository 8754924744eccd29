"""Where each count of a model spec stands in a profile's vector, and how rows become such a vector.

One int64 vector holds everything that is counted of rows, in this order::

    rows from features | from predictions | from outcomes | bins of signal 0 | ... | sums | squares | pairs | lags
    | counters | rules

The third and the lags of labels (``detector.lags``) are there only where the spec has outcomes, and pairs
(``detector.pairs``) where it has predictions too; counters (``detector.quality.counters``) where it asks for checks
that no bin tells, and rules (``detector.rules``) where it has some.
Where the rows are broken down, a segment has a vector of its own, the head of this one up to the last signal that rows
or labels carry, and no phase (``detector.segments``).
Bins stand in the order of ``detector.bins``. Sums and squares are those of the number signals, in integers so that
totals subtract exactly: with z = (x - center) / scale of the reference, clipped to the feature's bounds and to
4,096 scales, a sum adds rint(z 2^20) and a square rint(z 2^8)^2. Missing and invalid values add nothing.

``Layout.count`` is the hot path of a profiling agent: everything is done on columns, once for each run of records.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector import lags
from detector.bins import NumberBinner, make_binner
from detector.counting import SQUARE_UNIT, SUM_UNIT, NumberSignal, NumberSignals, by_part
from detector.estimation import ExpectedLoss
from detector.lags import LabelArrivals
from detector.pairs import PairCounts
from detector.profile import PartKey, Profile, SegmentKey, Vector
from detector.quality.binned import Binned
from detector.quality.checks import bin_rates, counters_of, watched_apart
from detector.quality.counters import Carry, Counters
from detector.rows import STAGES, Column, Rows, Source
from detector.rules.counter import PLACES, RuleCounter
from detector.score_bins import score_bins
from detector.season import Season
from detector.segments.counting import SegmentCounter
from detector.segments.table import SegmentTable, check_size
from schemas.model_spec import ESTIMATED_PERFORMANCE, ModelSpec, feature_signal, performance_signal
from schemas.performance import CONDITIONAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS_AT: Final = {Source.FEATURES: 0, Source.PREDICTIONS: 1, Source.OUTCOMES: 2}
"""Where the rows of each source stand."""

_CONDITIONAL: Final = frozenset(performance_signal(loss) for loss in CONDITIONAL)
BLOCK_CELLS: Final = 32_768
"""Values counted at once: they stay in the processor's cache."""
MIN_BLOCK_ROWS: Final = 256
MAX_BLOCK_ROWS: Final = 4_096
"""Float sums of so many squares of at most 20 bits are exact integers."""


class Layout:
    """The vector of a model spec, built once.

    Parameters
    ----------
    spec
        A spec with a frozen reference.
    counted
        Numbers of the segments that are counted; None: all. What is counted from which offset on must be the same for
        whoever continues a total (docs/decisions/0017).

    Attributes
    ----------
    width
        Length of the vector.
    signals
        Names of the signals, as in ``spec.signals``.
    binners
        One for each signal.
    slices
        Where the bins of each signal stand.
    expected
        The loss to expect of a prediction; None where performance is not estimated, or the reference had no labels.
    pairs
        Where pairs of predictions and labels are counted.
    rates
        What is read of faults: of the data and of the service.
    segments
        By what rows are broken down; None: by nothing.
    segment_width
        Length of a segment's vector; 0 without segments.

    Raises
    ------
    ValueError
        If the spec has no frozen reference, bins whose edges are none, or more segments than can be judged.
    """

    def __init__(self, spec: ModelSpec, *, counted: Container[int] | None = None) -> None:
        frozen = spec.reference.frozen
        if frozen is None:
            raise ValueError(f"{spec.model} {spec.version} has no reference yet: nothing can be counted")
        self.spec = spec
        self.spec_hash = spec.hash
        self.signals = spec.signals
        self.binners = tuple(make_binner(frozen.bins[signal]) for signal in self.signals)
        self._head = 2 if spec.outcomes is None else 3
        self._watched = len(spec.features) + (spec.prediction is not None)
        ends = self._head + np.cumsum([binner.width for binner in self.binners])
        self.slices = tuple(slice(int(end) - b.width, int(end)) for end, b in zip(ends, self.binners, strict=True))
        numbers = [i for i, binner in enumerate(self.binners) if isinstance(binner, NumberBinner)]
        calibration = frozen.calibration if spec.estimates else None
        self.expected = None if calibration is None else ExpectedLoss(spec, calibration, self.binners)
        self.pairs = PairCounts(spec, self.slices[-1].stop + 2 * len(numbers), self.expected)
        self.width = self.pairs.start + self.pairs.width
        conditional = dict.fromkeys(_CONDITIONAL, (-2,))
        apart = dict.fromkeys(self.signals[: self._watched], watched_apart(spec))
        self._uncompared: dict[int, list[int]] = {
            i: list(bins) for i, signal in enumerate(self.signals) if (bins := (conditional | apart).get(signal))
        }
        self._lags: slice | None = None
        if spec.outcomes is not None:
            self._lags = slice(self.width, self.width + lags.WIDTH)
            self.width += lags.WIDTH
        self._numbers = {i: self._number(i, place, len(numbers)) for place, i in enumerate(numbers)}
        self._together: dict[tuple[int, ...], NumberSignals] = {}
        self._block_rows = min(MAX_BLOCK_ROWS, max(MIN_BLOCK_ROWS, BLOCK_CELLS // len(self.signals)))
        self._names = tuple(signal.removeprefix(feature_signal("")) for signal in self.signals)
        binned = self._binned()
        self._counters = Counters(counters_of(spec, binned), self.width)
        self.width += self._counters.width
        # Behind all else, since rules may be written when the reference is there already.
        self._rules = Counters([RuleCounter(spec)] if spec.rules else [], self.width)
        self.width += self._rules.width
        self.rates = (*bin_rates(spec, binned), *self._counters.rates, *self._rules.rates)
        self._invalid_at = np.array([where.stop - 1 for where in self.slices])
        self._season = Season(spec.seasonality, spec.timezone)
        self.segments = SegmentTable.of(spec)
        self.segment_width = 0
        self._by_segment: SegmentCounter | None = None
        if self.segments is not None:
            check_size(self.segments, [binner.width for binner in self.binners])
            self.segment_width = self.slices[self.segments.signals[-1]].stop
            self._by_segment = SegmentCounter(self.segments, self.slices, self.binners, counted)

    def _number(self, signal: int, place: int, numbers: int) -> NumberSignal:
        moments = self.slices[-1].stop
        bounds = self.spec.features[signal].bounds if signal < len(self.spec.features) else None
        binner = cast(NumberBinner, self.binners[signal])
        return NumberSignal(binner, self.slices[signal].start, moments + place, moments + numbers + place, bounds)

    def _binned(self) -> list[Binned]:
        """Features and the prediction, as the checks of quality see them."""
        weights = [*(feature.importance for feature in self.spec.features), 1.0]
        pairs = zip(self.binners[: self._watched], self.slices[: self._watched], strict=True)
        frozen = self.spec.reference.frozen
        norms = (frozen.norms if frozen is not None else None) or {}
        return [
            Binned(self._names[i], self.signals[i], i, binner, at.start, weights[i], norms.get(self.signals[i]))
            for i, (binner, at) in enumerate(pairs)
        ]

    # ------------------------------------------------------------------------------------------------ counting

    def count(self, rows: Rows, carry: Carry | None = None) -> Profile:
        """Count rows; signals that their source does not carry count nothing.

        Parameters
        ----------
        rows
            In the order of the log.
        carry
            What counters keep of the rows before these, of the same source partition; it is moved on. None: these rows
            are the first.
        """
        carry = self.begin() if carry is None else carry
        if 0 < len(rows) <= self._block_rows:
            return self._count_block(rows, carry)
        profile = Profile()
        for start in range(0, len(rows), self._block_rows):
            profile.add(self._count_block(rows.slice(start, start + self._block_rows), carry))
        return profile

    def begin(self) -> Carry:
        """Return what counters keep before the first row of a source partition."""
        return self._counters.begin() | self._rules.begin()

    def count_groups(self, rows: Rows, group: Ints, carry: Carry) -> Vector:
        """Count rows apart by group, whatever their stage and phase: (groups, width).

        ``group`` (n,) is 0 to the number of groups less one, and each has a row; ``carry`` as in `count`.
        """
        return self._vectors(rows, group, int(group.max()) + 1, carry)[0]

    def _count_block(self, rows: Rows, carry: Carry) -> Profile:
        keys, part = self._parts(rows)
        vectors, by_segment = self._vectors(rows, part, len(keys), carry)
        return Profile({key: vectors[i].copy() for i, key in enumerate(keys)}, by_segment)

    def _vectors(
        self, rows: Rows, part: Ints | None, parts: int, carry: Carry
    ) -> tuple[Vector, Mapping[SegmentKey, Vector]]:
        """Count rows by part, (parts, width), None where there is but one; and by segment, whatever their part."""
        carried = [i for i, column in enumerate(rows.columns) if column is not None]
        numbers = tuple(i for i in carried if i in self._numbers)
        others = [i for i in carried if i not in self._numbers]

        places = np.empty((len(carried), len(rows)), dtype=np.int64)
        if numbers:
            together = self._count_together(numbers)
            x = np.array([rows.columns[i] for i in numbers])
            finite = np.isfinite(x)
            void = None if finite.all() else ~finite
            together.places(x, void, out=places[: len(numbers)])
        for line, i in enumerate(others, start=len(numbers)):
            np.add(self.binners[i].index(cast(Column, rows.columns[i])), self.slices[i].start, out=places[line])
        expects = self.expected is not None and {self.expected.answer, *self.expected.features} <= set(carried)
        by_segment: dict[SegmentKey, Vector] = {}
        if self._by_segment is not None:
            by_segment = self._by_segment.count(rows, ROWS_AT[rows.source], (*numbers, *others), places)
        if part is not None:
            places += part * self.width
        vectors = np.bincount(places.ravel(), minlength=parts * self.width).reshape(parts, self.width)

        sizes = len(rows) if part is None else np.bincount(part)
        vectors[:, ROWS_AT[rows.source]] = sizes
        if numbers:
            sums, squares = together.moments(x, void)
            vectors[:, together.sums_at] = by_part(sums, part)
            vectors[:, together.squares_at] = by_part(squares, part)
        if expects:
            self._count_expected(rows, dict(zip((*numbers, *others), places, strict=True)), part, vectors)
        if rows.source is Source.OUTCOMES:
            self.pairs.count(rows, lambda i, column: self.binners[i].index(column), part, vectors)
        if self._lags is not None and rows.lags is not None:
            vectors[:, self._lags] = lags.count_lags(rows, part, parts)
        self._counters.count(rows, part, vectors, carry)
        self._rules.count(rows, part, vectors, carry)
        return vectors, by_segment

    def _count_expected(self, rows: Rows, places: dict[int, Ints], part: Ints | None, vectors: Vector) -> None:
        """Count the losses to expect of predictions, as the signal that they are, and predictions by their score.

        ``places`` holds the positions (n,) of their bins in all vectors side by side, by signal.
        """
        if self.expected is None:
            return
        prediction = cast(Column, rows.columns[self.expected.answer])
        fine = score_bins(cast(Floats, prediction)) if self.expected.is_score else None
        shift = 0 if part is None else part * self.width
        x = self.expected.of(prediction, lambda i: places[i] - shift - self.slices[i].start, fine=fine)[None, :]
        alone, void = self._count_together((self.signals.index(ESTIMATED_PERFORMANCE),)), np.isnan(x)
        at = np.empty(x.shape, dtype=np.int64)
        alone.places(x, void, out=at)
        at += shift
        vectors += np.bincount(at.ravel(), minlength=vectors.size).reshape(vectors.shape)
        sums, squares = alone.moments(x, void)
        vectors[:, alone.sums_at] += by_part(sums, part).astype(np.int64)
        vectors[:, alone.squares_at] += by_part(squares, part).astype(np.int64)
        if fine is not None:
            self.pairs.count_scores(fine, part, vectors)

    def _count_together(self, numbers: tuple[int, ...]) -> NumberSignals:
        """Signals that one source carries: there are as many of these as there are sources."""
        if numbers not in self._together:
            self._together[numbers] = NumberSignals([self._numbers[i] for i in numbers])
        return self._together[numbers]

    def _parts(self, rows: Rows) -> tuple[list[PartKey], Ints | None]:
        """Keys of the parts that the rows belong to and the part of each row; None where there is but one."""
        phases = self._season.phases
        codes = rows.stages if phases == 1 else rows.stages * np.int64(phases) + self.phase_of(rows.times)
        if (codes == codes[0]).all():
            return [self._key(int(codes[0]))], None
        distinct, part = np.unique(codes, return_inverse=True)
        return [self._key(code) for code in distinct.tolist()], part.astype(np.int64)

    def _key(self, code: int) -> PartKey:
        stage, phase = divmod(code, self._season.phases)
        return STAGES[stage], phase

    def phase_of(self, times: Floats) -> Ints:
        """Phase of the spec's season at each time, shape (n,); 0 without seasonality."""
        return self._season.phase_of(times)

    # ------------------------------------------------------------------------------------------------- reading

    def reference(self) -> Profile:
        """Decode the counts of the frozen reference; of a rule that was written since there are none.

        Raises
        ------
        ProfileError
            If they are damaged, or of another layout.
        """
        frozen = self.spec.reference.frozen
        if frozen is None:
            raise ValueError("no reference")
        counted, places = list((frozen.rules or {}).items()), []
        for rule in self.spec.rules:
            item = (rule.name, rule.expression)
            places.append(counted.index(item) if item in counted else None)
        base = self.width - PLACES * len(places)
        profile = Profile.decode(frozen.profile, base + PLACES * len(counted), self.segment_width)
        if places == list(range(len(counted))):
            return profile
        moved = {key: _moved(vector, base, places) for key, vector in profile.parts.items()}
        return Profile(moved, profile.segments)

    def rule_counts(self, vector: Vector) -> Vector:
        """Rows that break each rule, keep it, or leave it open: (rules, 3)."""
        return vector[self.width - PLACES * len(self.spec.rules) :].reshape(-1, PLACES)

    def predictions(self, vector: Vector) -> int:
        """Rows of predictions."""
        return int(vector[ROWS_AT[Source.PREDICTIONS]])

    def labels(self, vector: Vector) -> int:
        """Labels; 0 where the spec has no outcomes."""
        return 0 if self._lags is None else int(vector[ROWS_AT[Source.OUTCOMES]])

    def arrivals(self, vector: Vector) -> LabelArrivals | None:
        """How late the labels came; None where the spec has no outcomes."""
        return None if self._lags is None else LabelArrivals.of(vector[self._lags])

    def row_count(self, vector: Vector) -> int:
        """Rows of all sources."""
        return int(vector[: self._head].sum())

    def judged_rows(self, vector: Vector) -> int:
        """Rows of features and of predictions; a label is no row of its own."""
        return int(vector[ROWS_AT[Source.FEATURES]]) + int(vector[ROWS_AT[Source.PREDICTIONS]])

    def label_rows(self, vector: Vector) -> int:
        """Rows of outcomes."""
        return int(vector[ROWS_AT[Source.OUTCOMES]]) if self.spec.outcomes is not None else 0

    def step_rows(self, vector: Vector) -> int:
        """Rows of the source that has the most: a prediction and its label are not two rows to judge."""
        return int(vector[: self._head].max())

    def signal_counts(self, vector: Vector) -> list[Vector]:
        """Rows in each bin, by signal (views of shape (B,)).

        A row counts in every signal that its source carries, so a signal's counts add up to those rows; but losses
        that only some rows have (``schemas.performance.CONDITIONAL``) count those rows only, and values that are
        missing or invalid are left out where their rates are watched by themselves.
        """
        counts = [vector[where] for where in self.slices]
        for signal, bins in self._uncompared.items():
            counts[signal] = counts[signal].copy()
            counts[signal][bins] = 0
        return counts

    def uncompared(self, signal: int) -> Sequence[int]:
        """Bins of a signal, counted from the end, that are left out where it is compared (``signal_counts``)."""
        return self._uncompared.get(signal, ())

    def segment_counts(self, vector: Vector) -> list[Vector]:
        """Rows of a segment in each bin, by signal that is judged in segments; as ``signal_counts`` counts them."""
        counts = []
        for signal in () if self.segments is None else self.segments.signals:
            counts.append(vector[self.slices[signal]].copy())
            counts[-1][list(self.uncompared(signal))] = 0
        return counts

    def mean(self, vector: Vector, signal: int) -> float | None:
        """Mean of a number signal over the values counted; None for a category, or without any value."""
        number = self._numbers.get(signal)
        values = self.values(vector, signal)
        if number is None or values <= 0:
            return None
        bins = number.binner.bins
        return bins.center + bins.scale * (int(vector[number.sum_at]) / SUM_UNIT / values)

    def sd(self, vector: Vector, signal: int) -> float | None:
        """Standard deviation of a number signal, to about 1/256 of the reference's; None where there is no mean."""
        number = self._numbers.get(signal)
        values = self.values(vector, signal)
        if number is None or values <= 0:
            return None
        mean = int(vector[number.sum_at]) / SUM_UNIT / values
        mean_square = int(vector[number.square_at]) / SQUARE_UNIT**2 / values
        return number.binner.bins.scale * math.sqrt(max(mean_square - mean * mean, 0.0))

    def values(self, vector: Vector, signal: int) -> int:
        """Values of a signal that are neither missing nor invalid."""
        return int(vector[self.slices[signal]][:-2].sum())

    def invalid_values(self, vector: Vector) -> dict[str, int]:
        """Values that were not of their signal's type: by the feature's name, the prediction's under ``prediction``."""
        counts = vector[self._invalid_at]
        return {self._names[i]: int(counts[i]) for i in np.flatnonzero(counts).tolist()}


def _moved(vector: Vector, base: int, places: Sequence[int | None]) -> Vector:
    """Put the counts of rules, which stand from ``base`` on, into other places."""
    rules = vector[base:].reshape(-1, PLACES)
    nothing = np.zeros(PLACES, dtype=np.int64)
    return np.concatenate([vector[:base], *(nothing if place is None else rules[place] for place in places)])
