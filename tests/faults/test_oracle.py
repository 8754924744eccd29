"""The oracle is right, and sees what is wrong: it agrees with the core, and tells one row too few from one too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from aiokafka.structs import ConsumerRecord

from detector.layout import Layout
from detector.profile import Profile
from detector.rows import Source
from schemas.model_spec import OffsetRange
from schemas.profiles import ProfileTotal
from tests.faults.counts import OUTCOMES_AT, PREDICTIONS_AT, Table
from tests.faults.oracle import Difference, Oracle
from tests.faults.stream import MODELS, POISON, Stream, watched
from tests.support.data import rows_of

SPEC = watched(MODELS[0])
STREAM = Stream(since=1_700_000_000.0)
NUMBERS = range(0, 400, 2)
"""Those of the first model."""
PLACE = ("t.predictions", 0)


class Log:
    """A log of predictions in memory, which the oracle reads in place of a broker's."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.oracle = Oracle("", "t.", [SPEC])
        for offset, value in enumerate(values):
            self.oracle._take_prediction(record(offset, value))

    def difference(self, totals: Sequence[ProfileTotal], end: int) -> Difference | None:
        return self.oracle._of_log((SPEC.model, PLACE), totals, {PLACE: end})


def record(offset: int, value: bytes) -> ConsumerRecord:
    stamp = int(STREAM.since * 1_000) + 1_000_000
    return ConsumerRecord(*PLACE, offset, stamp, 0, None, value, None, 0, len(value), ())


def events(numbers: Sequence[int] = NUMBERS) -> list[bytes]:
    return [STREAM.prediction(number, 0) for number in numbers]


def total(numbers: Sequence[int], next_offset: int, uncounted: tuple[OffsetRange, ...] = ()) -> ProfileTotal:
    """What the core makes of the predictions with these numbers."""
    x, slices, scores = zip(
        *((v["feature:x"], v["feature:slice"], v["prediction"]) for v in values(numbers)), strict=True
    )
    rows = rows_of(SPEC, {"feature:x": x, "feature:slice": slices, "prediction": scores})
    profile: Profile = Layout(SPEC).count(rows)
    return ProfileTotal(
        model=SPEC.model, version="1", spec_hash=SPEC.hash, topic=PLACE[0], partition=PLACE[1], started_at=0,
        next_offset=next_offset, rows=len(rows), parts=profile.encode_parts(), uncounted=uncounted,
    )  # fmt: skip


def values(numbers: Sequence[int]) -> list[dict[str, object]]:
    log = Log(events(numbers))
    return [dict(each) for each in log.oracle._rows[SPEC.model, PLACE].values()]


def test_a_total_of_the_core_is_what_the_oracle_computes() -> None:
    assert Log(events()).difference([total(NUMBERS, 200)], 200) is None


def test_records_that_are_no_events_count_nothing() -> None:
    assert Log([*events(), *POISON]).difference([total(NUMBERS, 200)], 200 + len(POISON)) is None


@pytest.mark.parametrize(("counted", "lost", "double"), [(NUMBERS[1:], 1, 0), ([*NUMBERS, 6], 0, 1)])
def test_a_row_too_few_and_a_row_too_many_are_seen(counted: Sequence[int], lost: int, double: int) -> None:
    difference = Log(events()).difference([total(counted, 200)], 200)
    assert difference is not None
    assert (difference.lost, difference.double) == (lost, double)


def test_a_row_lost_and_another_counted_twice_do_not_make_up_for_each_other() -> None:
    difference = Log(events()).difference([total([*NUMBERS[1:], NUMBERS[7]], 200)], 200)
    assert difference is not None
    assert (difference.lost, difference.double) == (1, 1)


def test_a_difference_names_the_offsets_between_which_it_came_about() -> None:
    history = [total(NUMBERS[:50], 50), total(NUMBERS[:100], 100), total([*NUMBERS[:120], 0], 120),
               total([*NUMBERS, 0], 200)]  # fmt: skip
    difference = Log(events()).difference(history, 200)
    assert difference is not None
    assert (difference.from_offset, difference.to_offset) == (100, 120)


def test_rows_behind_the_last_total_are_lost() -> None:
    difference = Log(events()).difference([total(NUMBERS[:150], 150)], 200)
    assert difference is not None
    assert difference.lost == 50


def test_what_a_total_says_retention_took_is_not_asked_of_it() -> None:
    gap = OffsetRange(topic=PLACE[0], partition=0, from_offset=100, to_offset=130)
    kept = [*NUMBERS[:100], *NUMBERS[130:]]
    assert Log(events()).difference([total(kept, 200, (gap,))], 200) is None


def test_a_commit_ahead_of_the_saved_totals_is_seen_and_one_behind_is_not() -> None:
    oracle = Log(events()).oracle
    saved = [total(NUMBERS[:100], 100)]
    assert oracle.commits_ahead({PLACE: 100}, saved) == []
    (ahead,) = oracle.commits_ahead({PLACE: 101}, saved)
    assert (ahead.from_offset, ahead.to_offset) == (100, 101)


def test_labels_losses_tables_and_lags_are_counted_as_the_core_counts_them() -> None:
    labels, scores = ["1", "0", "1", "1", "0"], [0.97, 0.0, 0.5, 0.49, 0.0003]
    wrong, lags = ["false", "false", "false", "true", "false"], [40.0, 600.0, 9_000.0, -3.0, 1e9]
    pairs = [
        {"label": a, "performance:error": b, "prediction": c, "lag_s": d, "joined": True}
        for a, b, c, d in zip(labels, wrong, scores, lags, strict=True)
    ]
    rows = rows_of(SPEC, {"label": labels, "performance:error": wrong}, source=Source.OUTCOMES)
    context = tuple(np.array(scores) if signal == "prediction" else None for signal in SPEC.signals)
    (theirs,) = Layout(SPEC).count(replace(rows, context=context, lags=np.array(lags), joined=True)).parts.values()
    mine = Table(SPEC).count(OUTCOMES_AT, pairs)
    assert Table(SPEC).names(mine, theirs) == []
    assert np.array_equal(mine, theirs)
    assert mine[PREDICTIONS_AT] == 0
