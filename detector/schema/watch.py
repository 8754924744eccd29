"""Tallies of shapes to changes of the schema: what nearly all records have lost, gained, renamed or retyped.

No statistics are asked: where every sampled record of a stretch lacks a feature that events had, it is gone. What only
some records lack is for the rates of missing and invalid values (``detector.quality``).

===========  ====================================================================================================
gone         19 of 20 records do not have it
retyped      19 of 20 of those that have it have values of one other type
new          19 of 20 records have it, the spec does not know it, and it was not there when watching began
renamed      one is gone and one new in the same stretch, and the values under the new name could be the
             reference's of the old one (chi-square over bins, level 0.0001); of several the nearest by PSI
===========  ====================================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, Final

import numpy as np

from detector.bins import NumberBinner
from detector.layout import Layout
from detector.profile import Vector
from detector.rows import FALSE, INVALID, TRUE, Column
from detector.schema.stretch import Stretch
from detector.scores import chi_square_test, psi
from schemas.model_spec import FeatureType, OffsetRange, feature_signal
from schemas.schema_changes import FieldChange, FieldChangeKind, JsonKind, SchemaChange, ShapeTally

ENOUGH: Final = 32
"""Sampled records in a stretch."""
NEARLY_ALL: Final = 0.95
UNLIKE: Final = 1e-4
"""Values with a smaller p-value are not those of the feature that is gone."""
FEWEST_VALUES: Final = 16
"""With fewer nothing is said of a distribution."""
MOST_NAMES: Final = 256
"""Names that the spec does not know are remembered up to so many."""


class SchemaWatch:
    """Watches the shape of one model version's events.

    Parameters
    ----------
    layout
        Of its spec.
    reference
        All rows of its reference, as one vector.
    """

    def __init__(self, layout: Layout, reference: Vector) -> None:
        self._layout, self._spec = layout, layout.spec
        self._types = {feature.name: feature.type for feature in self._spec.features}
        self._reference = layout.signal_counts(reference)
        self._usual: set[str] = set()
        self._odd: dict[str, str] = {}
        """Features that are not what the spec says, with what was told of them."""
        self._began = False
        self._stretch = Stretch()

    def fold(
        self, before: ShapeTally | None, after: ShapeTally | None, where: OffsetRange, time: datetime | None
    ) -> SchemaChange | None:
        """Take what came between two totals of a source partition; return what that shows.

        Parameters
        ----------
        before, after
            The tallies; None: nothing was sampled.
        where
            The records that came between.
        time
            Event time of the newest row.
        """
        if after is None:
            return None
        self._stretch.add(before or ShapeTally(), after, where)
        if self._stretch.records < ENOUGH:
            return None
        stretch, self._stretch = self._stretch, Stretch()
        changes = self._changes(stretch)
        self._began = True
        return None if not changes else self._told(changes, stretch, time)

    # ------------------------------------------------------------------------------------------------ what changed

    def _changes(self, stretch: Stretch) -> list[FieldChange]:
        unknown = [name for name in stretch.kinds if name not in self._types and self._is_there(name, stretch)]
        fresh = [name for name in unknown if name not in self._usual]
        now = {name: odd for name in self._types if (odd := self._odd_of(name, stretch)) is not None}
        told = {name: odd for name, odd in now.items() if self._odd.get(name) != odd[1]}
        gone = [name for name, (kind, _, _) in told.items() if kind is FieldChangeKind.GONE]
        renamed = self._pairs(gone, fresh, stretch)
        changes = [
            FieldChange(feature=name, kind=kind, expected=self._types[name], found=found)
            for name, (kind, _, found) in told.items()
            if name not in renamed
        ]
        changes += [
            FieldChange(
                feature=name,
                kind=FieldChangeKind.RENAMED,
                expected=self._types[name],
                found=_commonest(stretch.kinds[other]),
                renamed_to=other,
                distance=round(distance, 4),
            )
            for name, (other, distance) in renamed.items()
        ]
        taken = {other for other, _ in renamed.values()}
        changes += [
            FieldChange(feature=name, kind=FieldChangeKind.NEW, found=_commonest(stretch.kinds[name]))
            for name in fresh
            if self._began and name not in taken
        ]
        back = [name for name in self._odd if name not in now and self._fits(name, stretch)]
        changes += [FieldChange(feature=name, kind=FieldChangeKind.BACK, expected=self._types[name]) for name in back]
        self._remember(now, back, fresh if self._began else unknown)
        return sorted(changes, key=lambda each: (_ORDER.index(each.kind), each.feature))

    def _odd_of(self, name: str, stretch: Stretch) -> tuple[FieldChangeKind, str, JsonKind | None] | None:
        """What is wrong with a feature of the spec in nearly all records, with a word to remember it by."""
        absent = stretch.absent.get(name, 0)
        if absent >= NEARLY_ALL * stretch.records:
            return FieldChangeKind.GONE, FieldChangeKind.GONE.value, None
        kinds = stretch.kinds.get(name)
        if kinds and max(kinds.values()) >= NEARLY_ALL * (stretch.records - absent):
            found = _commonest(kinds)
            return FieldChangeKind.RETYPED, f"{FieldChangeKind.RETYPED.value} {found}", found
        return None

    def _fits(self, name: str, stretch: Stretch) -> bool:
        odd = stretch.absent.get(name, 0) + sum(stretch.kinds.get(name, {}).values())
        return odd <= (1 - NEARLY_ALL) * stretch.records

    @staticmethod
    def _is_there(name: str, stretch: Stretch) -> bool:
        return sum(stretch.kinds[name].values()) >= NEARLY_ALL * stretch.records

    def _remember(
        self, now: Mapping[str, tuple[FieldChangeKind, str, JsonKind | None]], back: Sequence[str], fresh: Sequence[str]
    ) -> None:
        self._odd |= {name: odd[1] for name, odd in now.items()}
        for name in back:
            del self._odd[name]
        self._usual |= set(fresh[: MOST_NAMES - len(self._usual)])

    def _pairs(self, gone: Sequence[str], fresh: Sequence[str], stretch: Stretch) -> dict[str, tuple[str, float]]:
        """Pair features that are gone with new ones whose values are alike; the nearest first, each once."""
        near = [
            (round(distance, 1), -SequenceMatcher(None, old, new).ratio(), old, new, distance)
            for old in gone
            for new in fresh
            if (distance := self._distance(old, stretch.values_of(new))) is not None
        ]
        paired: dict[str, tuple[str, float]] = {}
        for _, _, old, new, distance in sorted(near):
            if old not in paired and new not in {other for other, _ in paired.values()}:
                paired[old] = (new, distance)
        return paired

    def _distance(self, name: str, values: Sequence[Any]) -> float | None:
        """PSI between values and the reference of a feature; None where they are too few, or not like its values."""
        if len(values) < FEWEST_VALUES:
            return None
        place = self._layout.signals.index(feature_signal(name))
        column = _column(values, self._types[name])
        binner, expected = self._layout.binners[place], self._reference[place]
        counts = np.bincount(binner.index(column), minlength=binner.width)
        if counts[-1] or not counts[:-2].sum() or not expected[:-2].sum():
            return None
        now, then = (_without_margins(each[:-2], isinstance(binner, NumberBinner)) for each in (counts, expected))
        _, p = chi_square_test(now, then)
        return None if p < UNLIKE else max(0.0, float(psi(now, then)))

    def _told(self, changes: Sequence[FieldChange], stretch: Stretch, time: datetime | None) -> SchemaChange:
        spec, seen_in = self._spec, stretch.seen_in()
        said = "; ".join(_said(change) for change in changes)
        identity = (
            f"{self._layout.spec_hash} {said} {[(each.topic, each.partition, each.to_offset) for each in seen_in]}"
        )
        return SchemaChange(
            id=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
            model=spec.model,
            version=spec.version,
            owner=spec.owner,
            summary=f"{spec.model} {spec.version}: the features of its events have changed: {said}",
            time=time,
            changes=tuple(changes),
            records=stretch.records,
            seen_in=seen_in,
            spec_hash=self._layout.spec_hash,
        )

    # ------------------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "usual": sorted(self._usual),
            "odd": dict(sorted(self._odd.items())),
            "began": self._began,
            "stretch": self._stretch.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._usual, self._odd = set(state["usual"]), dict(state["odd"])
        self._began, self._stretch = state["began"], Stretch.restored(state["stretch"])


def _without_margins(counts: Vector, is_number: bool) -> Vector:
    """Count what is out of the reference's range, or unseen, with its neighbours: one such value is no difference."""
    if not is_number:
        return np.append(counts[:-2], counts[-2:].sum())
    inner = counts[1:-1].copy()
    inner[0] += counts[0]
    inner[-1] += counts[-1]
    return inner


def _commonest(kinds: Mapping[str, int]) -> JsonKind:
    return JsonKind(max(sorted(kinds), key=kinds.__getitem__))


def _column(values: Sequence[Any], kind: FeatureType) -> Column:
    """Values under a new name as a column of the feature that is gone: what does not fit is invalid."""
    if kind is FeatureType.NUMBER:
        numbers = [np.nan if each is None else float(each) if _is_number(each) else np.inf for each in values]
        return np.array(numbers, dtype=np.float64)
    if kind is FeatureType.BOOLEAN:
        names = {True: TRUE, False: FALSE}
        return [None if each is None else names.get(each, INVALID) if not isinstance(each, str) else INVALID
                for each in values]  # fmt: skip
    return [None if each is None else _text(each) for each in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def _said(change: FieldChange) -> str:
    match change.kind:
        case FieldChangeKind.GONE:
            return f"{change.feature} is gone"
        case FieldChangeKind.NEW:
            return f"{change.feature} is new ({change.found})"
        case FieldChangeKind.RENAMED:
            return f"{change.feature} is now called {change.renamed_to}"
        case FieldChangeKind.RETYPED:
            return f"{change.feature} is {change.found} where the spec has {change.expected}"
    return f"{change.feature} is as the spec says again"


_ORDER: Final = (FieldChangeKind.RENAMED, FieldChangeKind.GONE, FieldChangeKind.RETYPED, FieldChangeKind.NEW,
                 FieldChangeKind.BACK)  # fmt: skip
