"""The frozen baseline of a model version: bins, counts by phase, and how bursty its rows were.

``freeze`` makes it from the rows of a training file or from the first rows of the stream, ``baselines`` reads it as
what the evidence engine compares with. Rows of all stages count alike in a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.bins import boolean_bins, fit_category_bins, fit_number_bins, make_binner
from detector.dispersion import overdispersion
from detector.evidence import SignalBaseline
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.profile import Profile, Vector
from detector.reference_rows import draw_reference
from detector.rows import STAGES, TRUE, Column, Rows, Source, carried, signal_types
from detector.season import Season
from schemas.model_spec import (
    LOSS_TIERS,
    PREDICTION,
    Bins,
    CategoryBins,
    FeatureType,
    FrozenReference,
    LossTiers,
    ModelSpec,
    NumberBins,
    OffsetRange,
    Seasonality,
    Stage,
    TierSpec,
    performance_signal,
)

Ints = NDArray[np.int64]

_STAGE: Final = STAGES.index(Stage.PRODUCTION)
"""Where a reference's rows are counted, whatever their own stage."""


def freeze(
    spec: ModelSpec,
    rows: Rows | Sequence[Rows],
    origin: str,
    offsets: Sequence[OffsetRange] = (),
    declared: str | None = None,
) -> ModelSpec:
    """Give a spec its frozen reference.

    Parameters
    ----------
    spec
        What is watched; a reference that it has already is replaced.
    rows
        The reference in its own order, on which dispersion is measured. Where features and predictions come in streams
        of their own, the rows of each: a signal is taken from the first that carries it.
    origin
        Where the rows came from, for people.
    offsets
        For a reference from the stream: where the baseline ends in each partition.
    declared
        For a reference from the stream: hash of the spec that asked for it.

    Raises
    ------
    ValueError
        If there are no rows, or none that carry a signal (which is named), or a season has no times. A signal that is
        missing in every row is no error: it has a bin for missing, and shows a change when values begin to come.
    """
    pieces = [rows] if isinstance(rows, Rows) else list(rows)
    pieces = [piece for piece in pieces if len(piece)]
    if not pieces:
        raise ValueError(f"the reference of {spec.model} {spec.version} has no rows")
    carriers = [_carrier(spec, i, pieces) for i in range(len(spec.signals))]
    bins: dict[str, Bins] = {}
    dispersion: dict[str, float] = {}
    phases = {id(piece): _phases(spec, piece) for piece in pieces}
    for i, (signal, kind, piece) in enumerate(zip(spec.signals, signal_types(spec), carriers, strict=True)):
        if piece is None:
            bins[signal], dispersion[signal] = _fit(np.empty(0) if kind is FeatureType.NUMBER else [], kind), 1.0
            continue
        column = cast(Column, piece.columns[i])
        bins[signal] = _fit(column, kind)
        binner = make_binner(bins[signal])
        phi = overdispersion(
            binner.index(column), binner.width, ordered=isinstance(bins[signal], NumberBins), phases=phases[id(piece)]
        )
        dispersion[signal] = round(phi, 4)
    since, until = _period(pieces)
    frozen = FrozenReference(
        rows=max(len(piece) for piece in pieces),
        since=since,
        until=until,
        origin=origin,
        offsets=tuple(offsets),
        declared=declared,
        bins=bins,
        dispersion=dispersion,
        profile="",
    )
    layout = Layout(_with(spec, frozen))
    drawn = {"profile": _count(layout, pieces).encode(), "sample": draw_reference(spec, layout, pieces)}
    return _with(spec, frozen.model_copy(update=drawn))


def _carrier(spec: ModelSpec, index: int, pieces: Sequence[Rows]) -> Rows | None:
    """Rows that a signal is taken from; None for one that depends on labels, where there are none yet."""
    signal = spec.signals[index]
    for piece in pieces:
        column = piece.columns[index]
        if column is not None:
            if len(column) != len(piece):
                raise ValueError(f"{signal} has {len(column)} values in {len(piece)} rows of the reference")
            return piece
    if carried(spec, Source.OUTCOMES)[index]:
        return None
    raise ValueError(f"no rows of the reference carry {signal}")


def _fit(column: Column, kind: FeatureType) -> Bins:
    if kind is FeatureType.NUMBER:
        return fit_number_bins(cast(NDArray[np.float64], column))
    return boolean_bins() if kind is FeatureType.BOOLEAN else fit_category_bins(cast(list[str | None], column))


def _phases(spec: ModelSpec, rows: Rows) -> Ints | None:
    if spec.seasonality is Seasonality.NONE:
        return None
    return Season(spec.seasonality, spec.timezone).phase_of(rows.times)


def _period(pieces: Sequence[Rows]) -> tuple[datetime | None, datetime | None]:
    """First and last event time; None where the rows have none."""
    times = np.concatenate([piece.times for piece in pieces])
    times = times[np.isfinite(times)]
    if not len(times):
        return None, None
    return datetime.fromtimestamp(float(times.min()), UTC), datetime.fromtimestamp(float(times.max()), UTC)


def _with(spec: ModelSpec, frozen: FrozenReference) -> ModelSpec:
    return spec.model_copy(update={"reference": spec.reference.model_copy(update={"frozen": frozen})})


def _count(layout: Layout, pieces: Sequence[Rows]) -> Profile:
    profile = Profile()
    for piece in pieces:
        stages = np.full(len(piece), _STAGE, dtype=np.int8)
        profile.add(layout.count(Rows(piece.source, piece.offsets, piece.times, stages, piece.columns)))
    return profile


def baselines(spec: ModelSpec, layout: Layout) -> list[SignalBaseline]:
    """Read the frozen reference as what each signal is compared with, in the order of ``spec.signals``.

    Raises
    ------
    ValueError
        If the spec has no frozen reference, or its profile is damaged.
    """
    frozen, phases = _frozen(spec), reference_vectors(spec, layout)
    return [
        _baseline(spec, signal, _expected(frozen.bins[signal], {key: vector[where] for key, vector in phases.items()}))
        for signal, where in zip(spec.signals, layout.slices, strict=True)
    ]


def _baseline(spec: ModelSpec, signal: str, phases: dict[int, Ints]) -> SignalBaseline:
    frozen = cast(FrozenReference, spec.reference.frozen)
    bins, losses = frozen.bins[signal], None
    tiers: TierSpec | LossTiers = spec.tiers
    if spec.loss is not None and signal == performance_signal(spec.loss):
        losses = loss_of_bins(bins, phases[WHOLE])
        tiers = (spec.outcomes and spec.outcomes.tiers) or LOSS_TIERS[spec.loss]
    return SignalBaseline(
        name=signal,
        phases=phases,
        ordered=isinstance(bins, NumberBins),
        dispersion=max(frozen.dispersion.get(signal, 1.0), 1.0),
        opens=spec.learning == "frozen" or signal != PREDICTION,
        thresholds=(tiers.minor, tiers.moderate, tiers.significant),
        losses=losses,
    )


def loss_of_bins(bins: Bins, counts: Ints) -> NDArray[np.float64]:
    """Say what a row in each bin of a loss costs, (B,): an error 1, an absolute error its share of the mean one.

    Rows without a known loss stand for the reference's mean, so that they neither raise nor lower it.
    """
    if isinstance(bins, CategoryBins):
        costs = np.array([float(name == TRUE) for name in bins.categories] + [np.nan] * 4)
    else:
        costs = np.array([bins.edges[0], *bins.means, bins.edges[-1], np.nan, np.nan])
    known = ~np.isnan(costs)
    rows = int(counts[known].sum())
    mean = float(counts[known] @ costs[known]) / rows if rows else 0.0
    costs[~known] = mean
    return costs / mean if isinstance(bins, NumberBins) and mean > 0 else costs


def reference_vectors(spec: ModelSpec, layout: Layout) -> dict[int, Vector]:
    """Decode the counts of the frozen reference: by phase and, under ``WHOLE``, all together.

    Raises
    ------
    ValueError
        As ``baselines`` does.
    """
    phases = _vectors_by_phase(Profile.decode(_frozen(spec).profile, layout.width), layout.width)
    return {WHOLE: phases[WHOLE]} if spec.seasonality is Seasonality.NONE else phases


def _frozen(spec: ModelSpec) -> FrozenReference:
    if spec.reference.frozen is None:
        raise ValueError(f"{spec.model} {spec.version} has no reference yet: there is nothing to compare with")
    return spec.reference.frozen


def _vectors_by_phase(profile: Profile, width: int) -> dict[int, Vector]:
    """Counts by phase and, under ``WHOLE``, all together."""
    phases: dict[int, Vector] = {WHOLE: np.zeros(width, dtype=np.int64)}
    for (_, phase), vector in sorted(profile.parts.items()):
        phases[phase] = phases[phase] + vector if phase in phases else vector
        phases[WHOLE] = phases[WHOLE] + vector
    return phases


def _expected(bins: Bins, phases: dict[int, Ints]) -> dict[int, Ints]:
    """Counts that tell what to expect: as counted, but for what categories never seen before will take."""
    if not isinstance(bins, CategoryBins) or not bins.singletons:
        return {phase: counts.copy() for phase, counts in phases.items()}
    rows = max(int(phases[WHOLE].sum()), 1)
    return {
        phase: make_room_for_unseen(counts, round(bins.singletons * int(counts.sum()) / rows))
        for phase, counts in phases.items()
    }


def make_room_for_unseen(counts: Ints, singletons: int) -> Ints:
    """Move as many rows as there are singletons to ``unseen``, from ``other``, then from the rarest categories.

    Good and Turing: what the next row has that the reference never had is as likely as what it had once. Without this,
    every live stream of a category with a long tail would drift from the day it starts.

    Parameters
    ----------
    counts
        (B,) of a category's bins: the categories, most frequent first, other, unseen, missing, invalid.
    """
    moved = counts.copy()
    other, unseen = len(counts) - 4, len(counts) - 3
    wanted = singletons
    for place in (other, *range(other - 1, -1, -1)):
        taken = min(wanted, int(moved[place]))
        moved[place] -= taken
        moved[unseen] += taken
        wanted -= taken
        if not wanted:
            break
    return moved
