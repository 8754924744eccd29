"""Which drift an incident is, and what a loss of performance is made of.

Two questions are asked of a loss that has risen. Forwards: the reference's rows teach what the loss is for which
features; for the features of recent rows, does that foretell the loss that was realised? Then the features explain it.
Backwards ("reverse concept drift", NannyML): models trained on the reference's labels and on recent ones are judged on
the reference's rows, whose features are what they were: where the recent one is much worse there, the concept changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.explain import kind_of
from detector.layout import Layout
from detector.readings import SignalReading
from detector.surrogates.challenger import Challenger
from detector.surrogates.domain import Domain
from detector.surrogates.learners import answer
from detector.surrogates.mimic import Mimic
from detector.surrogates.surrogate import Surrogate
from schemas.model_spec import CONCEPT, LABEL, MIMIC, MULTIVARIATE, ModelSpec, feature_signal
from schemas.outbound import Diagnosis, DriftKind, FeatureRank, LossCheck, ReverseCheck, SignalVerdict, Tier

Floats = NDArray[np.float64]

MOST_FEATURES: Final = 10
LEAST_ROWS: Final = 100
"""Labelled rows, recent or of the reference, without which nothing is said of the loss."""
EXPLAINED: Final = 0.5
"""From this share on, a rise of the loss is said to be explained by the features."""
RISE: Final = 0.01
"""A smaller rise of the loss, in the reference's loss or in rows of a class, is none to explain."""


def diagnose(
    spec: ModelSpec,
    layout: Layout,
    verdicts: Sequence[SignalVerdict],
    readings: Sequence[SignalReading],
    surrogates: Mapping[str, Surrogate],
) -> Diagnosis:
    """Put together what the signals and the surrogates say of an incident."""
    challenger, domain, mimic = (surrogates.get(name) for name in (CONCEPT, MULTIVARIATE, MIMIC))
    firing = [verdict for verdict in verdicts if verdict.tier is not Tier.NONE]
    names = {verdict.signal for verdict in firing}
    kinds = {kind_of(name) for name in names}
    loss = loss_check(challenger) if isinstance(challenger, Challenger) else None
    reverse = reverse_check(challenger) if isinstance(challenger, Challenger) and loss is not None else None
    return Diagnosis(
        drifts=tuple(kind for kind in DriftKind if kind in kinds),
        explanation=_explain(names, kinds, loss, reverse),
        loss=loss,
        reverse=reverse,
        features=_ranked(spec, readings, mimic.importance() if isinstance(mimic, Mimic) else None),
        told_apart_by=domain.named() if isinstance(domain, Domain) and MULTIVARIATE in names else (),
    )


def loss_check(challenger: Challenger) -> LossCheck | None:
    """Compare the loss that was realised with the one that the features foretell; None without enough labelled rows."""
    losses = challenger.record.compare()
    if losses is None or min(losses.rows, losses.calm_rows) < LEAST_ROWS:
        return None
    before, realised, expected = losses.before, losses.realised, losses.expected
    rise = realised - before
    is_rise = rise > RISE * (1.0 if challenger.classes else max(before, 1e-9))
    explained = min(max((expected - before) / rise, 0.0), 1.0) if is_rise else None
    return LossCheck(
        reference=round(challenger.in_unit(before), 6),
        realised=round(challenger.in_unit(realised), 6),
        expected=round(challenger.in_unit(expected), 6),
        explained=None if explained is None else round(explained, 3),
        rows=round(losses.rows, 1),
    )


def reverse_check(challenger: Challenger) -> ReverseCheck | None:
    """Judge models of the reference's and of recent labels on the reference's rows; None where it kept too few."""
    z, _, target, _ = challenger.split(challenger.reference())
    if len(z) < LEAST_ROWS:
        return None
    old, new = (
        challenger.in_unit(float(challenger.losses(answer(each, challenger.classes), target).mean()))
        for each in challenger.record.labels(z)
    )
    return ReverseCheck(reference=round(old, 6), recent=round(new, 6))


def _ranked(spec: ModelSpec, readings: Sequence[SignalReading], used: Floats | None) -> tuple[FeatureRank, ...]:
    """Rank the features by score x importance."""
    scores = {reading.name: reading.score for reading in readings}
    given = [feature.importance for feature in spec.features]
    importances = used.tolist() if used is not None and len(set(given)) == 1 else given
    ranks = [
        FeatureRank(
            feature=feature.name, score=round(scores[feature_signal(feature.name)], 6), importance=round(weight, 4)
        )
        for feature, weight in zip(spec.features, importances, strict=True)
    ]
    ranks.sort(key=lambda each: (-max(each.score, 0.0) * each.importance, each.feature))
    return tuple(ranks[:MOST_FEATURES])


def _explain(names: set[str], kinds: set[DriftKind], loss: LossCheck | None, reverse: ReverseCheck | None) -> str:
    """Say it in one sentence."""
    parts = []
    if CONCEPT in names:
        parts.append("models trained on recent labels gain on this one, so what it learned no longer holds (concept)")
    if DriftKind.PERFORMANCE in kinds:
        parts.append("it performs worse")
    if _single(names):
        parts.append("its inputs have changed")
    elif MULTIVARIATE in names:
        parts.append("its inputs hang together otherwise, each by itself being what it was")
    if LABEL in names:
        parts.append("labels are distributed otherwise")
    if MIMIC in names:
        calm = "" if _single(names) or MULTIVARIATE in names else " although its inputs are what they were"
        parts.append(f"the model answers otherwise than it used to{calm}")
    elif DriftKind.PREDICTION in kinds:
        parts.append("its predictions are distributed otherwise")
    said = "; ".join(parts) or "no signal has a tier any more"
    if loss is not None and loss.explained is not None:
        share = f"the features explain {loss.explained:.0%} of the rise of the loss"
        verdict = "mostly explained by the features" if loss.explained >= EXPLAINED else "not explained by the features"
        said += f"; {share}: {verdict}"
        if reverse is not None:
            said += f" (on the reference's rows, a model of recent labels loses {reverse.recent:.3g}, "
            said += f"one of the reference's {reverse.reference:.3g})"
    return said[0].upper() + said[1:] + "."


def _single(names: set[str]) -> bool:
    return any(name.startswith(feature_signal("")) for name in names)
