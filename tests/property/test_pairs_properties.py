"""Pairs are counted like everything else: it does not matter how the rows are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from detector import lags
from detector.layout import Layout
from schemas.model_spec import ModelSpec
from schemas.performance import LOSSES_OF, METRICS_OF
from tests.support.data import MONDAY, numbers, spec_of
from tests.support.pairs import counted, frozen_pairs, pair_rows

N = 400
RNG = np.random.default_rng(8)
X = RNG.normal(size=N) * 2


def _spec(task: str, output: str, seasonality: str) -> ModelSpec:
    outcomes = {"losses": LOSSES_OF[task, output], "limits": dict.fromkeys(METRICS_OF[task, output], 0.5)}
    return spec_of(*numbers("x"), task=task, prediction={"output": output}, outcomes=outcomes, seasonality=seasonality)


def _rows(task: str, output: str) -> tuple[object, object]:
    if task == "regression":
        return X + RNG.normal(size=N), X
    classes = ["0", "1"] if task == "binary" else ["a", "b", "c"]
    labels = [classes[int(each)] for each in RNG.integers(0, len(classes), N)]
    return (1 / (1 + np.exp(-X)) if output == "score" else list(reversed(labels))), labels


KINDS = {kind: _rows(*kind) for kind in METRICS_OF}
TIMES = MONDAY + 600.0 * np.arange(N)
LAYOUTS = {
    (kind, season): Layout(frozen_pairs(_spec(*kind, season), {"x": X}, *rows, times=TIMES))
    for kind, rows in KINDS.items()
    for season in ("none", "daily")
}


@pytest.mark.parametrize(("kind", "season"), LAYOUTS)
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=4))
def test_however_the_rows_are_cut_the_pairs_are_the_same_integers(
    kind: tuple[str, str], season: str, cuts: list[int]
) -> None:
    layout = LAYOUTS[kind, season]
    rows = pair_rows(layout.spec, {"x": X}, *KINDS[kind], times=TIMES)  # type: ignore[arg-type]
    edges = [0, *sorted(cuts), N]
    pieces = [each.slice(start, stop) for each in rows for start, stop in pairwise(edges)]
    assert_array_equal(counted(layout, pieces), counted(layout, rows))


@pytest.mark.parametrize(("kind", "season"), LAYOUTS)
def test_every_section_counts_something_and_only_lags_come_behind(kind: tuple[str, str], season: str) -> None:
    layout = LAYOUTS[kind, season]
    vector = counted(layout, pair_rows(layout.spec, {"x": X}, *KINDS[kind], times=TIMES))  # type: ignore[arg-type]
    last = max(where.stop for where in layout.pairs.slices.values())
    assert last + lags.WIDTH == layout.width == len(vector)
    for name, where in layout.pairs.slices.items():
        assert vector[where].any() or where.start == where.stop, name


@pytest.mark.parametrize("kind", METRICS_OF)
def test_outcomes_that_do_not_know_their_prediction_count_no_pair(kind: tuple[str, str]) -> None:
    layout = LAYOUTS[kind, "none"]
    _, outcomes = pair_rows(layout.spec, {"x": X}, *KINDS[kind])  # type: ignore[arg-type]
    alone = type(outcomes)(outcomes.source, outcomes.offsets, outcomes.times, outcomes.stages, outcomes.columns)
    assert not counted(layout, [alone])[layout.pairs.start :].any()
    assert layout.label_rows(counted(layout, [alone])) == N


def test_a_pair_with_a_missing_side_counts_no_pair() -> None:
    layout = LAYOUTS[("binary", "score"), "none"]
    scores = np.array([0.2, np.nan, np.inf, 0.9])
    rows = pair_rows(layout.spec, {"x": np.zeros(4)}, scores, ["1", "1", "1", None])
    vector = counted(layout, rows)
    assert layout.pairs.of(vector, "confusion").sum() == 1
    assert layout.pairs.of(vector, "scores").sum() == 2
