"""Violations as rates: of each rule the rows that break it, that keep it, and of which nothing can be said.

The last few rows that broke a rule are kept by their offsets, so that a person can look at them. Like the counts, they
depend on the log alone, however it was cut into runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.quality.counters import Carry, Mask
from detector.quality.rates import Rate
from detector.rows import Rows
from detector.rules.book import RuleBook
from schemas.model_spec import ModelSpec
from schemas.outbound import Family
from schemas.quality import RateTiers
from schemas.rules import RuleSpec

Ints = NDArray[np.int64]

PLACES: Final = 3
"""Of each rule: broken, kept, open."""
EXAMPLES: Final = 5
"""Records kept of each rule."""
CARRY: Final = "rules"
_NOBODY: Final = 1.0
"""A rise that hardly happens."""


def rule_signal(name: str) -> str:
    """Name the signal that watches a rule."""
    return f"quality:rule:{name}"


class RuleCounter:
    """Counts what the rules of a spec say of rows; they are evaluated together, so that columns are converted once.

    Parameters
    ----------
    spec
        With one rule at least.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._book = RuleBook(spec)
        self.width = PLACES * len(self._book.rules)
        self.carries: Mapping[str, int] = {CARRY: EXAMPLES * len(self._book.rules)}

    def rates(self, start: int) -> Sequence[Rate]:
        """Read violations among the rows that could be asked."""
        return [
            Rate(
                signal=rule_signal(rule.name),
                family=Family.QUALITY,
                tiers=tiers_of(rule),
                bad=(start + PLACES * i,),
                rows=(start + PLACES * i, start + PLACES * i + 1),
                what=f"break {rule.expression}",
                expected=0.0,
            )
            for i, rule in enumerate(self._book.rules)
        ]

    def count(self, rows: Rows, carry: Carry) -> Mask | None:
        """Ask the rules: (width, n)."""
        if rows.source not in self._book.sources:
            return None
        found = np.zeros((self.width, len(rows)), dtype=np.bool_)
        examples = carry[CARRY].reshape(-1, EXAMPLES)
        for i, verdicts in enumerate(self._book.ask(rows)):
            if verdicts is None:
                continue
            broken, kept, unknown = found[PLACES * i : PLACES * (i + 1)]
            broken[:], kept[:] = verdicts.broken, verdicts.kept
            np.logical_not(broken | kept, out=unknown)
            if broken.any():
                examples[i] = _latest(examples[i], rows.offsets[broken])
        return found


def _latest(before: Ints, offsets: Ints) -> Ints:
    """Put the offsets that came last behind those before; each is kept plus one, and 0 stands for none."""
    last = np.unique(np.concatenate([before, offsets + 1]))[-EXAMPLES:]
    return np.concatenate([np.zeros(EXAMPLES - len(last), dtype=np.int64), last])


def examples_in(carry: Carry | None) -> tuple[tuple[int, ...], ...]:
    """Offsets of the records that broke each rule last, ascending."""
    if carry is None or CARRY not in carry:
        return ()
    return tuple(tuple(offset - 1 for offset in each if offset) for each in carry[CARRY].reshape(-1, EXAMPLES).tolist())


def tiers_of(rule: RuleSpec) -> RateTiers:
    """Rises of the violation rate by tier: the rule's own is reached at once, and what is above it hardly ever."""
    names = tuple(RateTiers.model_fields)
    highest = names.index(rule.severity)
    return RateTiers(**{name: rule.rise if i <= highest else _NOBODY for i, name in enumerate(names)})
