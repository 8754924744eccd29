"""What the spec says of a feature's values beyond their type: ranges, lengths, allowed categories, required values.

A value that breaks its constraint becomes an *invalid* one, as one of the wrong type is: the row is counted all the
same. Only where the spec says ``on_invalid: row`` the whole row must go, and then the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.rows import INVALID, Column
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec, OnInvalid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_Change = Callable[[Column], Column]


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """Rows that must go.

    Attributes
    ----------
    keep
        (n,) the rows that stay.
    why
        For each of the others, by its place, the feature and what is wrong with it.
    """

    keep: Mask
    why: dict[int, str]


class Constraints:
    """The constraints of a spec's features; most specs have none, and then nothing costs anything."""

    def __init__(self, spec: ModelSpec) -> None:
        self._features = spec.features
        self._changes: dict[int, _Change] = {
            i: change for i, feature in enumerate(spec.features) if (change := _change_of(feature)) is not None
        }
        self._strict = tuple(i for i, feature in enumerate(spec.features) if feature.on_invalid is OnInvalid.ROW)

    @property
    def change_values(self) -> bool:
        """Whether a value can become invalid here."""
        return bool(self._changes)

    def apply(self, columns: Sequence[Column | None]) -> tuple[Column | None, ...]:
        """Make invalid what breaks a constraint; columns that nothing is said of are handed on as they are.

        Parameters
        ----------
        columns
            (n,) each, those of the features first, in the order of the spec.
        """
        if not self._changes:
            return tuple(columns)
        return tuple(
            self._changes[i](column) if column is not None and i in self._changes else column
            for i, column in enumerate(columns)
        )

    def refused(self, columns: Sequence[Column | None]) -> RefusedRows | None:
        """Find the rows that must go; None where all may stay.

        Parameters
        ----------
        columns
            As `apply` returned them.
        """
        why: dict[int, str] = {}
        for i in self._strict:
            column = columns[i]
            if column is None:
                continue
            feature, found = self._features[i], _faults(column, required=self._features[i].required)
            if found is not None:
                for place in np.flatnonzero(found).tolist():
                    why.setdefault(place, f"feature {feature.name!r} is {_fault(column, place, feature)}")
        if not why:
            return None
        count = next(len(column) for column in columns if column is not None)
        keep = np.ones(count, dtype=np.bool_)
        keep[list(why)] = False
        return RefusedRows(keep, why)


def _change_of(feature: FeatureSpec) -> _Change | None:
    """How a feature's column is changed; None where nothing is asked of its values."""
    if feature.minimum is not None or feature.maximum is not None:
        low = -np.inf if feature.minimum is None else feature.minimum
        high = np.inf if feature.maximum is None else feature.maximum
        return lambda column: _within(cast(Floats, column), low, high)
    if feature.categories is not None or feature.max_length is not None:
        allowed = None if feature.categories is None else frozenset(feature.categories)
        longest = _ENDLESS if feature.max_length is None else feature.max_length
        return lambda column: _allowed(cast(list[str | None], column), allowed, longest)
    return None


def _within(values: Floats, low: float, high: float) -> Floats:
    outside = (values < low) | (values > high)  # NaN is neither
    return np.where(outside, np.inf, values) if outside.any() else values


def _allowed(values: list[str | None], allowed: frozenset[str] | None, longest: int) -> list[str | None]:
    return [
        value
        if value is None or value == INVALID or (len(value) <= longest and (allowed is None or value in allowed))
        else INVALID
        for value in values
    ]


def _faults(column: Column, *, required: bool) -> Mask | None:
    """(n,) values that a row cannot stay with; None where there are none."""
    if isinstance(column, np.ndarray):
        found = ~np.isfinite(column) if required else np.isinf(column)
    else:
        if INVALID not in column and not (required and None in column):
            return None
        found = np.array([value == INVALID or (required and value is None) for value in column], dtype=np.bool_)
    return found if found.any() else None


def _fault(column: Column, place: int, feature: FeatureSpec) -> str:
    value = column[place]
    if value is None or (isinstance(column, np.ndarray) and np.isnan(column[place])):
        return "missing, and the spec requires it"
    return f"not valid: the spec asks for {describe(feature)}"


def describe(feature: FeatureSpec) -> str:
    """Say what the values of a feature must be, for people: ``a number from 0 to 120 (years)``."""
    parts = [_KINDS[feature.type]]
    if feature.minimum is not None and feature.maximum is not None:
        parts.append(f"from {feature.minimum:g} to {feature.maximum:g}")
    elif feature.minimum is not None:
        parts.append(f"from {feature.minimum:g}")
    elif feature.maximum is not None:
        parts.append(f"up to {feature.maximum:g}")
    if feature.categories is not None:
        shown = ", ".join(feature.categories[:_MOST_SHOWN])
        parts.append(f"that is one of {shown}{' or others' if len(feature.categories) > _MOST_SHOWN else ''}")
    if feature.max_length is not None:
        parts.append(f"of up to {feature.max_length} characters")
    return " ".join(parts) + (f" ({feature.unit})" if feature.unit else "")


_ENDLESS: Final = 2**63
_MOST_SHOWN: Final = 8

_KINDS: Final = {
    FeatureType.NUMBER: "a number",
    FeatureType.CATEGORY: "a category",
    FeatureType.BOOLEAN: "a boolean",
}
