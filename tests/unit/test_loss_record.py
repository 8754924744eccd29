"""What the features let foresee of a loss: all of it where they made it, nothing where labels follow another rule."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.state import pack, unpack
from detector.surrogates.loss_record import Losses, LossRecord

Floats = NDArray[np.float64]


def rows(shift: float, seed: int, extra: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Rows of one feature: a constant and the feature, labels, and losses that grow with the feature."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=1_600) + shift
    loss = 0.3 + 0.1 * x + extra + 0.05 * rng.normal(size=len(x))
    return np.column_stack([np.ones(len(x)), x]), (x[:, None] > 0).astype(float), loss


def record() -> LossRecord:
    made = LossRecord(2, 1)
    made.learn_calm(*rows(0.0, 1))
    return made


def learned(shift: float, extra: float = 0.0) -> Losses:
    made = record()
    z, targets, loss = rows(shift, 2, extra)
    for start in range(0, len(z), 8):
        block = slice(start, start + 8)
        made.learn(z[block], targets[block], loss[block])
    losses = made.compare()
    assert losses is not None
    return losses


def test_a_loss_that_the_features_made_is_foreseen() -> None:
    losses = learned(shift=1.5)
    assert losses.realised > losses.before + 0.1
    assert abs(losses.realised - losses.expected) < 3 * losses.error


def test_a_loss_that_the_features_did_not_make_is_a_surprise() -> None:
    losses = learned(shift=0.0, extra=0.2)
    assert losses.expected == pytest.approx(losses.before, abs=3 * losses.error)
    assert losses.realised - losses.expected > 10 * losses.error


def test_without_recent_rows_there_is_nothing_to_compare() -> None:
    assert record().compare() is None


def test_labels_are_foretold_by_what_was_learned_then_and_lately() -> None:
    made = record()
    z, targets, loss = rows(0.0, 3)
    made.learn(z, 1 - targets, loss)
    then, lately = made.labels(np.array([[1.0, 2.0]]))
    assert then[0, 0] > 0.5 > lately[0, 0]


def test_a_successor_compares_the_same() -> None:
    made, successor = record(), LossRecord(2, 1)
    made.learn(*rows(0.5, 4))
    successor.restore(unpack(pack(made.state())))
    for each in (made, successor):
        each.learn(*rows(1.0, 5))
    assert successor.compare() == made.compare()
