"""Values of n rows, some of which are not known, and what follows from that.

Logic is three-valued, Kleene's: a condition is true, false, or unknown, and unknown only where it matters. ``false and
unknown`` is false; ``true or unknown`` is true. So a truth is two masks, *surely true* and *surely false*, and where
both are unset nothing is known.

Numbers need no mask: NaN is unknown, arithmetic hands it on, and every comparison with it is neither true nor false.
A result that is not finite (a division by zero, an overflow) is unknown too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Truth:
    """Conditions.

    Attributes
    ----------
    true, false
        (n,) or () where a condition is surely true, and where it is surely false; never both.
    """

    true: Mask
    false: Mask

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.true & other.true, self.false | other.false)

    def __or__(self, other: Truth) -> Truth:
        return Truth(self.true | other.true, self.false & other.false)

    def __invert__(self) -> Truth:
        return Truth(self.false, self.true)

    def equals(self, other: Truth) -> Truth:
        """Whether both are true or both are false."""
        return (self & other) | (~self & ~other)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts.

    Attributes
    ----------
    values
        (n,) or () of str; anything where they are not known.
    known
        (n,) or () where they are.
    """

    values: NDArray[np.object_]
    known: Mask

    def equals(self, other: Texts) -> Truth:
        """Whether both are the same text."""
        known = self.known & other.known
        same = np.asarray(self.values == other.values, dtype=np.bool_)
        return Truth(known & same, known & ~same)

    def lengths(self) -> Floats:
        """Characters of each; NaN where it is not known."""
        lengths = [
            float(len(value)) if known else np.nan
            for value, known in zip(np.ravel(self.values), np.ravel(self.known), strict=True)
        ]
        return np.array(lengths).reshape(np.shape(self.known))


Values = Floats | Texts | Truth
"""What a part of an expression is, by its kind."""
