"""A journal makes a detector forget, restorable and bounded; an alarm is told once and begins anew."""

from __future__ import annotations

import numpy as np
import pytest

from detector.journal import JournaledDetector


class AlarmAt:
    """Gives an alarm when the values since it was made add up to exactly a number."""

    def __init__(self, total: float) -> None:
        self._total, self._sum = total, 0.0

    def update(self, x: float) -> None:
        self._sum += x

    @property
    def drift_detected(self) -> bool:
        return self._sum == self._total


def detector(total: float = 100.0, memory: int = 3) -> JournaledDetector:
    return JournaledDetector(lambda: AlarmAt(total), memory)


def test_with_twice_its_memory_the_older_half_is_forgotten() -> None:
    journaled = detector()
    journaled.update([1, 2, 3, 4, 5, 6])
    assert journaled.state().tolist() == [4, 5, 6]


def test_after_forgetting_the_detector_is_what_the_values_left_make_of_a_new_one() -> None:
    journaled = detector(total=4 + 5 + 6 + 7)
    assert not journaled.update([1, 2, 3, 4, 5, 6])
    assert journaled.update([7])


def test_an_alarm_empties_the_journal() -> None:
    journaled = detector(total=6)
    assert journaled.update([1, 2, 3])
    assert len(journaled) == 0


def test_values_behind_an_alarm_are_told_to_the_new_detector() -> None:
    journaled = detector(total=6)
    assert journaled.update([1, 2, 3, 4, 5])
    assert journaled.state().tolist() == [4, 5]


def test_a_change_that_shows_only_with_a_shorter_memory_is_told_when_it_is_made_anew() -> None:
    journaled = detector(total=4 + 5)
    assert not journaled.update([1, 2, 3, 4, 5])
    assert journaled.update([6])
    assert journaled.state().tolist() == [6]


@pytest.mark.parametrize("journal", [np.zeros(6), np.zeros((1, 1))])
def test_a_journal_of_another_detector_is_refused(journal: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not fit a memory of 3 values"):
        detector().restore(journal)
