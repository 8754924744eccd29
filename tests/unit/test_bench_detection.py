"""The detection benchmark: its drifts are what they say, and it counts what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from bench.contenders import CONTENDERS, Seen
from bench.detection import overall, summarise
from bench.episodes import GENERATORS, KINDS, Stream, Tail, marked_rows
from bench.play import Cell, Outcome, play_generated

ROWS, ONSET = 4_000, 2_000


@pytest.fixture(scope="module")
def stream() -> Stream:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 3)) + np.array([0.0, 5.0, 10.0])
    return Stream("test", x, (x[:, 1] + rng.normal(size=ROWS) > 5.0).astype(int), 500)


def changed(stream: Stream, kind: str, *, gradual: bool = False) -> Tail:
    rng = np.random.default_rng(2)
    return KINDS[kind](stream, ONSET, marked_rows(stream, ONSET, gradual=gradual, rng=rng), rng)


def test_permuted_features_keep_their_values_and_change_their_columns(stream: Stream) -> None:
    tail = changed(stream, "x_permutations")
    np.testing.assert_array_equal(np.sort(tail.x, axis=1), np.sort(stream.x[ONSET:], axis=1))
    assert not np.array_equal(tail.x, stream.x[ONSET:])


def test_a_swapped_class_is_gone(stream: Stream) -> None:
    assert len(np.unique(changed(stream, "y_swaps").y)) == 1


def test_of_the_skipped_class_a_quarter_is_left(stream: Stream) -> None:
    tail = changed(stream, "y_prior_skip")
    left = np.bincount(tail.y) / np.bincount(stream.y[ONSET:])
    assert sorted(left.tolist()) == pytest.approx([0.25, 1.0], abs=0.05)
    np.testing.assert_array_equal(tail.y, stream.y[tail.index])


def test_of_the_exceeding_rows_none_is_left(stream: Stream) -> None:
    tail = changed(stream, "x_exceed_skip")
    medians = np.median(stream.x, axis=0)
    assert sum((tail.x > medians).any(axis=0) == 0) == 1
    np.testing.assert_array_equal(tail.x, stream.x[tail.index])


def test_mirrored_labels_keep_their_shares_and_turn_against_the_best_feature(stream: Stream) -> None:
    tail = changed(stream, "y_mirror")
    np.testing.assert_array_equal(tail.x, stream.x[ONSET:])
    assert np.bincount(tail.y).tolist() == np.bincount(stream.y[ONSET:]).tolist()
    assert np.corrcoef(stream.x[ONSET:, 1], stream.y[ONSET:])[0, 1] > 0.4
    assert np.corrcoef(tail.x[:, 1], tail.y)[0, 1] < -0.4


def test_without_drift_nothing_changes(stream: Stream) -> None:
    tail = changed(stream, "none")
    np.testing.assert_array_equal(tail.y, stream.y[ONSET:])


def test_a_gradual_drift_changes_more_and_more_rows(stream: Stream) -> None:
    marked = marked_rows(stream, ONSET, gradual=True, rng=np.random.default_rng(3))
    assert marked[:100].mean() < 0.25 < marked[200:300].mean() < 0.75
    assert marked[500:].all()


@pytest.mark.parametrize("name", sorted(set(CONTENDERS) - {"kswin"}))
def test_a_contender_read_in_pieces_or_copied_says_the_same(name: str) -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, size=3_000)
    wrong = rng.random(3_000) < np.where(np.arange(3_000) < 2_000, 0.1, 0.5)
    seen = Seen(rng.normal(size=(3_000, 2)), y, np.where(wrong, 1 - y, y))

    def part(start: int, stop: int) -> Seen:
        return Seen(seen.x[start:stop], seen.y[start:stop], seen.predicted[start:stop])

    warm_up = part(0, 1_000)
    whole = CONTENDERS[name](warm_up).read(part(1_000, 3_000))
    first = CONTENDERS[name](warm_up)
    pieces = first.read(part(1_000, 1_777))
    pieces += [777 + place for place in first.copy().read(part(1_777, 3_000))]
    assert pieces == whole


def test_an_episode_of_a_generator_is_played_to_the_end() -> None:
    (outcome,) = play_generated("stagger", 0, ["psi_128"])
    assert outcome.cell == Cell("stagger", "generator", "abrupt")
    assert outcome.delay is not None
    assert outcome.rows > 10_000


def test_a_false_alarm_lowers_f1_and_a_detection_counts_once() -> None:
    cell = Cell("electricity", "y_swaps", "abrupt")
    found = Outcome(cell, "driftline", 90, 80, 1, 10_000, 1.0)
    missed = Outcome(cell, "driftline", None, None, 0, 10_000, 1.0)
    (row,) = summarise([found, missed])
    assert (row["recall"], row["f1"], row["far"], row["delay_mean"]) == (0.5, 0.5, 0.05, 90.0)
    assert overall([row], "driftline")["abrupt_f1"] == 0.5


def test_eight_of_rivers_generators_are_played() -> None:
    named = {"sea", "agrawal", "sine", "mixed", "stagger", "led", "hyperplane", "random_rbf"}
    assert set(GENERATORS) == named
