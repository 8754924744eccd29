"""Which rates a spec asks for: those that bins tell already, and the counters of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from detector.quality.binned import INVALID, MISSING, OVERFLOW, UNDERFLOW, UNSEEN, Binned, quality_signal
from detector.quality.counters import Counter
from detector.quality.norms import norm_checks
from detector.quality.rates import Rate
from detector.quality.repeats import repeat_checks
from detector.quality.service import service_counters
from detector.quality.values import ValueCounter
from schemas.model_spec import CategoryBins, ModelSpec
from schemas.outbound import Family
from schemas.quality import Check

_Found = tuple[tuple[int, ...], tuple[int, ...]] | None
"""Places of bad rows and of all rows; None where the check has no meaning."""


def watched_apart(spec: ModelSpec) -> tuple[int, ...]:
    """Bins, counted from the end, in which no feature is compared, since their rates are watched by themselves.

    So a column that stops coming is one fault of the data, and no drift that would ask for retraining.
    """
    checks = () if spec.quality is None else spec.quality.checks
    return tuple(place for check, place in ((Check.MISSING, MISSING), (Check.INVALID, INVALID)) if check in checks)


def bin_rates(spec: ModelSpec, signals: Sequence[Binned]) -> Iterator[Rate]:
    """Yield the rates that are read off the bins of features and of the prediction, and so cost nothing to count."""
    if spec.quality is None:
        return
    for signal in signals:
        for check in spec.quality.checks:
            if check in _OF_BINS and (found := _OF_BINS[check](signal)) is not None:
                yield Rate(
                    signal=quality_signal(check, signal.name),
                    family=Family.QUALITY,
                    tiers=spec.quality.tiers_of(check),
                    bad=found[0],
                    rows=found[1],
                    what=_WHAT[check],
                    importance=signal.importance,
                    awaited=_singletons(signal) if check is Check.UNSEEN else 0,
                    of_signal=signal.signal,
                    by_value=check in (Check.UNSEEN, Check.OUT_OF_RANGE),
                )


def counters_of(spec: ModelSpec, signals: Sequence[Binned]) -> list[Counter]:
    """Return the counters that a spec asks for, in the order in which they stand in the vector."""
    return [counter for make in COUNTERS for counter in make(spec, signals)]


def value_counters(spec: ModelSpec, signals: Sequence[Binned]) -> Sequence[Counter]:
    """Make the counter of all checks that look at numbers, or at the rows before."""
    numbers = [signal for signal in signals if signal.is_number]
    parts = [*norm_checks(spec, numbers), *repeat_checks(spec, numbers)]
    return [ValueCounter(numbers, parts)] if parts else []


def _missing(signal: Binned) -> _Found:
    return signal.at(MISSING), signal.upto(0)


def _invalid(signal: Binned) -> _Found:
    return signal.at(INVALID), signal.upto(0)


def _unseen(signal: Binned) -> _Found:
    return None if signal.is_number else (signal.at(UNSEEN), signal.values)


def _out_of_range(signal: Binned) -> _Found:
    return (signal.at(UNDERFLOW, OVERFLOW), signal.values) if signal.is_number else None


def _singletons(signal: Binned) -> int:
    """Categories seen once in the reference: as many rows to come will be unseen (Good and Turing)."""
    bins = getattr(signal.binner, "bins", None)
    return bins.singletons if isinstance(bins, CategoryBins) else 0


_OF_BINS: Final[dict[Check, Callable[[Binned], _Found]]] = {
    Check.MISSING: _missing,
    Check.INVALID: _invalid,
    Check.UNSEEN: _unseen,
    Check.OUT_OF_RANGE: _out_of_range,
}

_WHAT: Final = {
    Check.MISSING: "missing",
    Check.INVALID: "not of the feature's type",
    Check.UNSEEN: "unseen before",
    Check.OUT_OF_RANGE: "out of the reference's range",
}

COUNTERS: Final[tuple[Callable[[ModelSpec, Sequence[Binned]], Sequence[Counter]], ...]] = (
    value_counters,
    service_counters,
)
"""To add a rate that must be counted: a function that makes its counters (most are a `counters.RowCounter`) of the spec
and the signals that have bins, and a row here, behind the others. Which there are depends on the spec alone, since a
frozen reference holds counts in this order."""
