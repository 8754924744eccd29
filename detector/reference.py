"""The frozen baseline of a model version: bins, counts by phase, and how bursty its rows were.

``freeze`` makes it from the rows of a training file or from the first rows of the stream, ``baselines`` reads it as
what the evidence engine compares with. Rows of all stages count alike in a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detector.bins import (
    MAX_CATEGORIES,
    boolean_bins,
    fit_category_bins,
    fit_loss_bins,
    fit_number_bins,
    make_binner,
)
from detector.calibration import calibrate
from detector.dispersion import overdispersion
from detector.estimation import ExpectedLoss
from detector.expectation import WHOLE
from detector.layout import Layout
from detector.profile import Profile, Vector
from detector.quality.checks import watched_apart
from detector.quality.dispersion import rate_dispersion
from detector.quality.norms import fit_norm, needs_norm
from detector.readings import SignalBaseline
from detector.reference_rows import draw_reference
from detector.rows import STAGES, TRUE, Column, Rows, Source, carried, signal_types
from detector.season import Season
from detector.segments.bursts import segment_dispersion
from schemas.model_spec import (
    ESTIMATED_PERFORMANCE,
    PREDICTION,
    Bins,
    CategoryBins,
    FeatureType,
    FrozenReference,
    ModelSpec,
    NumberBins,
    OffsetRange,
    Seasonality,
    Stage,
    TierSpec,
    performance_signal,
)
from schemas.performance import CONDITIONAL, RATES, Calibration, Loss, LossTiers
from schemas.quality import Counted, NumberNorm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CONDITIONAL: Final = frozenset(performance_signal(loss) for loss in CONDITIONAL)

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
    bins: dict[str, Bins] = {}
    dispersion: dict[str, float] = {}
    norms: dict[str, NumberNorm] = {}
    calibration: Calibration | None = None
    phases = {id(piece): _phases(spec, piece) for piece in pieces}
    for i, (signal, kind) in enumerate(zip(spec.signals, signal_types(spec), strict=True)):
        if signal == ESTIMATED_PERFORMANCE:
            calibration = _calibration(spec, pieces, bins, dispersion)
            piece, column = _expected_losses(spec, pieces, bins, calibration)
        else:
            piece = _carrier(spec, i, pieces)
            column = None if piece is None else piece.columns[i]
        if piece is None or column is None:
            bins[signal], dispersion[signal] = _fit(np.empty(0) if kind is FeatureType.NUMBER else [], kind), 1.0
            continue
        is_loss = kind is FeatureType.NUMBER and loss_of_signal(spec, signal) is not None
        bins[signal] = fit_loss_bins(cast(Floats, column)) if is_loss else _fit(column, kind, _own_bins(spec, signal))
        phi = _overdispersion(spec, signal, column, bins[signal], phases=phases[id(piece)])
        dispersion[signal] = round(phi, 4)
        if needs_norm(spec, i) and kind is FeatureType.NUMBER and (norm := fit_norm(cast(Floats, column))) is not None:
            norms[signal] = norm
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
        calibration=calibration,
        norms=norms or None,
        counted=Counted.of(spec.quality, spec.service),
        rules={rule.name: rule.expression for rule in spec.rules} or None,
        profile="",
    )
    layout = Layout(_with(spec, frozen))
    drawn = {
        "profile": _count(layout, pieces).encode(),
        "sample": draw_reference(spec, layout, pieces),
        "dispersion": dispersion | rate_dispersion(layout, pieces),
        "segment_dispersion": _by_segment(spec, layout, pieces, phases),
    }
    return _with(spec, frozen.model_copy(update=drawn))


def _by_segment(
    spec: ModelSpec, layout: Layout, pieces: Sequence[Rows], phases: dict[int, Ints | None]
) -> dict[str, tuple[float, ...]] | None:
    """How bursty the rows of each segment are; None where nothing is broken down."""
    if layout.segments is None:
        return None
    frozen = cast(FrozenReference, layout.spec.reference.frozen)
    bins, dispersion = frozen.bins, frozen.dispersion
    carriers: list[tuple[Rows, Column] | None] = []
    for signal in layout.segments.signals:
        piece = _carrier(spec, signal, pieces)
        column = None if piece is None else piece.columns[signal]
        carriers.append(None if piece is None or column is None else (piece, column))

    def measure(signal: int, rows: Rows, column: Column, among: NDArray[np.bool_]) -> float:
        of, name = phases[id(rows)], layout.signals[signal]
        return _overdispersion(spec, name, column, bins[name], phases=of, among=among)

    whole = [dispersion[layout.signals[signal]] for signal in layout.segments.signals]
    return segment_dispersion(layout.segments, layout.binners, carriers, whole, measure)


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


def _overdispersion(
    spec: ModelSpec,
    signal: str,
    column: Column,
    bins: Bins,
    *,
    phases: Ints | None,
    among: NDArray[np.bool_] | None = None,
) -> float:
    """How bursty the rows of a signal are, or some ``among`` them; only of those that are compared."""
    binner = make_binner(bins)
    places = binner.index(column)
    if among is not None:
        places, phases = places[among], None if phases is None else phases[among]
    apart = watched_apart(spec) if signal in spec.signals[: len(spec.features) + (spec.prediction is not None)] else ()
    uncompared = [place % binner.width for place in ((-2, -1) if signal in _CONDITIONAL else apart)]
    if uncompared:
        having = ~np.isin(places, uncompared)
        places, phases = places[having], None if phases is None else phases[having]
    ordered, trending = isinstance(bins, NumberBins), _improves(spec, signal)
    return overdispersion(places, binner.width, ordered=ordered, phases=phases, trending=trending)


def _calibration(
    spec: ModelSpec, pieces: Sequence[Rows], bins: dict[str, Bins], dispersion: dict[str, float]
) -> Calibration | None:
    """What the labelled rows tell of the loss to expect; None where there are none, or too few."""
    labelled = [piece for piece in pieces if piece.source is Source.OUTCOMES and piece.context is not None]
    if spec.loss is None or not labelled:
        return None
    binners = [make_binner(bins[signal]) for signal in spec.signals if signal in bins]
    phi = dispersion[performance_signal(spec.loss)]
    return calibrate(spec, Rows.concat(labelled), binners, phi)


def _expected_losses(
    spec: ModelSpec, pieces: Sequence[Rows], bins: dict[str, Bins], calibration: Calibration | None
) -> tuple[Rows | None, Column | None]:
    """The loss to expect of the predictions in the reference, and the rows that they are."""
    piece = None if calibration is None else _carrier(spec, len(spec.features), pieces)
    if piece is None or calibration is None:
        return None, None
    rows, binners = piece, [make_binner(bins[signal]) for signal in spec.signals if signal in bins]
    expected = ExpectedLoss(spec, calibration, binners)
    column = cast(Column, rows.columns[expected.answer])
    return rows, expected.of(column, lambda i: binners[i].index(cast(Column, rows.columns[i])))


def _fit(column: Column, kind: FeatureType, categories: int = MAX_CATEGORIES) -> Bins:
    if kind is FeatureType.NUMBER:
        return fit_number_bins(cast(NDArray[np.float64], column))
    if kind is FeatureType.BOOLEAN:
        return boolean_bins()
    return fit_category_bins(cast(list[str | None], column), categories)


def _own_bins(spec: ModelSpec, signal: str) -> int:
    """How many categories may have bins of their own: those of a field are segments."""
    return spec.segments.top if spec.segments is not None and signal in spec.segment_signals else MAX_CATEGORIES


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
        profile.add(layout.count(replace(piece, stages=stages)))
    return profile


def baselines(spec: ModelSpec, layout: Layout) -> list[SignalBaseline]:
    """Read the frozen reference as what each signal is compared with, in the order of ``spec.signals``.

    Raises
    ------
    ValueError
        If the spec has no frozen reference, or its profile is damaged.
    """
    frozen, phases = _frozen(spec), reference_vectors(spec, layout)
    counts = {phase: layout.signal_counts(vector) for phase, vector in phases.items()}
    return [
        baseline_of(spec, signal, _expected(frozen.bins[signal], {phase: each[i] for phase, each in counts.items()}))
        for i, signal in enumerate(spec.signals)
    ]


def baseline_of(spec: ModelSpec, signal: str, phases: Mapping[int, Ints]) -> SignalBaseline:
    """Say what a signal is compared with, given its counts by phase, ``WHOLE`` among them."""
    if not phases[WHOLE].any():
        phases = {WHOLE: _nothing_known(len(phases[WHOLE]))}
    frozen = cast(FrozenReference, spec.reference.frozen)
    bins, losses = frozen.bins[signal], None
    tiers: TierSpec | LossTiers = spec.tiers
    if spec.outcomes is not None and (loss := loss_of_signal(spec, signal)) is not None:
        losses = loss_of_bins(bins, phases[WHOLE], relative=loss not in RATES)
        tiers = spec.outcomes.tiers_of(loss)
    return SignalBaseline(
        name=signal,
        phases=phases,
        ordered=isinstance(bins, NumberBins),
        dispersion=max(frozen.dispersion.get(signal, 1.0), 1.0),
        opens=spec.learning == "frozen" or signal not in (PREDICTION, ESTIMATED_PERFORMANCE),
        thresholds=(tiers.minor, tiers.moderate, tiers.significant),
        losses=losses,
        follows=_improves(spec, signal),
    )


def _improves(spec: ModelSpec, signal: str) -> bool:
    """Whether a signal is the loss of a model that keeps learning."""
    return spec.learning == "continuous" and signal in map(performance_signal, spec.losses)


def _nothing_known(width: int) -> Ints:
    """Counts of a signal that the reference has not: one row in which it is missing, which is too few to judge by."""
    counts = np.zeros(width, dtype=np.int64)
    counts[-2] = 1
    return counts


def loss_of_signal(spec: ModelSpec, signal: str) -> Loss | None:
    """Which loss a signal watches, be it estimated; None where it watches none."""
    if signal == ESTIMATED_PERFORMANCE:
        return spec.loss
    return next((loss for loss in spec.losses if signal == performance_signal(loss)), None)


def loss_of_bins(bins: Bins, counts: Ints, *, relative: bool | None = None) -> NDArray[np.float64]:
    """Say what a row in each bin of a loss costs, (B,): itself, or its share of the reference's mean.

    Rows without a known loss stand for the reference's mean, so that they neither raise nor lower it.

    Parameters
    ----------
    relative
        Whether costs are shares of the mean; None: those of numbers are.
    """
    if isinstance(bins, CategoryBins):
        costs = np.array([float(name == TRUE) for name in bins.categories] + [np.nan] * 4)
    else:
        costs = np.array([bins.edges[0], *bins.means, bins.edges[-1], np.nan, np.nan])
    known = ~np.isnan(costs)
    rows = int(counts[known].sum())
    mean = float(counts[known] @ costs[known]) / rows if rows else 0.0
    costs[~known] = mean
    relative = isinstance(bins, NumberBins) if relative is None else relative
    return costs / mean if relative and mean > 0 else costs


def reference_vectors(spec: ModelSpec, layout: Layout) -> dict[int, Vector]:
    """Decode the counts of the frozen reference: by phase and, under ``WHOLE``, all together.

    Raises
    ------
    ValueError
        As ``baselines`` does.
    """
    phases = _vectors_by_phase(layout.reference(), layout.width)
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
