"""Runs of the topic of joins in, outcome rows out."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st
from rocksdict import Options, Rdict

from agents.errors import OperatorError
from agents.joins.joiner import SKEW_MS, Joiner, pieces
from agents.joins.store import DamagedStoreError, JoinStore, shared_cache
from agents.runs import Run
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.profile import Profile
from detector.rows import Source
from detector.state import seal, unseal
from detector.totals import RunningTotal
from schemas.performance import OutcomeSpec
from tests.support.data import MONDAY, frozen_of, spec_of
from tests.support.joining import TOPIC, JoinLog, joiner_in, play
from tests.support.outcomes import LAG_S, expected, found, label, labelled, outcome, prediction, score

SPEC = labelled(wait="1h")
HOUR_MS = 3_600_000


def new_total() -> RunningTotal:
    return RunningTotal(Layout(SPEC), TOPIC, 0)


def whole(profile: Profile) -> np.ndarray:
    return np.sum([np.zeros(Layout(SPEC).width, dtype=np.int64), *profile.parts.values()], axis=0)


async def answers(log: JoinLog, *numbers: int, **fields: object) -> None:
    await log.forward([prediction(number, **fields)[1] for number in numbers], Source.PREDICTIONS)


async def labels(log: JoinLog, *numbers: int, **fields: object) -> None:
    await log.forward([outcome(number, **fields)[1] for number in numbers], Source.OUTCOMES)


def fate(joiner: Joiner, name: str) -> float:
    return joiner._metrics.value("driftline_outcomes_total", model="m", fate=name)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # dispersion of signals without a reference
async def test_labels_of_a_version_whose_reference_has_none_are_counted_and_not_judged(tmp_path: Path) -> None:
    bare = spec_of(*SPEC.features, prediction={"output": "score"}, outcomes=OutcomeSpec())
    spec = frozen_of(bare, {"feature:x": [i % 100 for i in range(500)], "prediction": [i / 500 for i in range(500)]})
    log, total = JoinLog(spec), RunningTotal(Layout(spec), TOPIC, 0)
    await answers(log, *range(200))
    await labels(log, *range(200))
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, total)
    joiner.close()
    judge = ModelJudge(spec)
    assert judge.fold(total.to_event()) == []
    (status,) = judge.status()
    assert status.labels is not None
    assert status.labels.rows == 200
    assert {each.signal for each in status.signals if each.not_judged} >= {"label", "performance:error"}


def damage(folder: Path) -> None:
    for path in folder.rglob("CURRENT"):
        path.write_text("nonsense")


async def test_a_joined_row_has_the_time_and_stage_of_its_prediction_and_brings_it_as_context(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, 7, stage="canary")
    await labels(log, 7)
    joiner = joiner_in(tmp_path, log)
    await joiner.prepare(TP(TOPIC, 0), 0, lambda: True)
    ((_, rows),) = joiner.decode(Run(TOPIC, 0, log.records)).rows
    joiner.close()
    assert (rows.source, rows.offsets.tolist(), rows.stages.tolist()) == (Source.OUTCOMES, [1], [2])
    assert rows.times.tolist() == [MONDAY + 7]
    assert rows.lags is not None
    assert rows.lags.tolist() == [LAG_S]
    assert rows.joined
    assert rows.columns[:2] == (None, None)
    assert rows.columns[2] == [label(7)]
    assert rows.context is not None
    assert [column.tolist() for column in rows.context[:2] if isinstance(column, np.ndarray)] == [[59.0], [score(7)]]


async def test_a_label_after_its_time_is_not_counted(tmp_path: Path) -> None:
    log, joiner, total = JoinLog(SPEC), None, new_total()
    await answers(log, 1, 2)
    log.now_ms += HOUR_MS
    await labels(log, 1)
    log.now_ms += 1
    await labels(log, 2)
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, total)
    assert found(SPEC, whole(total.profile)) == expected(SPEC, [1])
    assert fate(joiner, "expired") == 1
    joiner.close()


async def test_entries_whose_time_is_up_are_removed_and_their_labels_are_unmatched(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, 1, 2)
    await labels(log, 3, 4, 5)
    log.now_ms += HOUR_MS + SKEW_MS
    await labels(log, 6)
    joiner, at = joiner_in(tmp_path, log), TP(TOPIC, 0)
    await play(joiner, log, new_total())
    assert joiner.sweep(at) == 0
    joiner.sweep(at)  # the end of a round
    log.now_ms += 1
    await labels(log, 7)
    await play(joiner, log, new_total(), 3)
    assert joiner.sweep(at) == 5
    assert fate(joiner, "unmatched") == 3
    joiner.close()


async def test_a_record_that_somebody_else_wrote_is_passed_over(tmp_path: Path) -> None:
    log, total = JoinLog(SPEC), new_total()
    await answers(log, 1)
    await log.deliver([type("Sent", (), {"value": b"{}"})()])  # type: ignore[list-item]
    await labels(log, 1)
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, total)
    joiner.close()
    assert found(SPEC, whole(total.profile)) == expected(SPEC, [1])


async def test_a_folder_that_cannot_be_made_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    joiner = joiner_in(tmp_path / "file" / "below", JoinLog(SPEC))
    with pytest.raises(Exception, match=r"^no folder for the join of outcomes: .*DRIFTLINE_STATE_DIR$"):
        await joiner.prepare(TP(TOPIC, 0), 0, lambda: True)


async def test_a_store_that_fails_ends_the_worker_and_is_no_fault_of_the_records(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, 1)
    joiner = joiner_in(tmp_path, log)
    await joiner.prepare(TP(TOPIC, 0), 0, lambda: True)
    (store,) = joiner._stores.values()
    store.close()
    with pytest.raises(OperatorError, match="cannot be read"):
        joiner.decode(Run(TOPIC, 0, log.records))


async def test_a_store_that_another_process_holds_is_built_anew_elsewhere(tmp_path: Path) -> None:
    log, total = JoinLog(SPEC), new_total()
    await answers(log, 1)
    await labels(log, 1)
    holder, other = joiner_in(tmp_path, log), joiner_in(tmp_path, log)
    await play(holder, log, new_total())
    await play(other, log, total)
    assert found(SPEC, whole(total.profile)) == expected(SPEC, [1])
    other.close()
    holder.close()


async def test_a_damaged_store_is_built_anew(tmp_path: Path) -> None:
    log, total = JoinLog(SPEC), new_total()
    await answers(log, 1)
    await labels(log, 1)
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, new_total())
    joiner.close()
    damage(tmp_path)
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, total)
    joiner.close()
    assert found(SPEC, whole(total.profile)) == expected(SPEC, [1])


def damage_blocks(folder: Path) -> None:
    (blocks,) = folder.rglob("*.sst")
    content = bytearray(blocks.read_bytes())
    middle = len(content) // 2  # not the checkpoint, which is read first
    content[middle : middle + 100] = bytes(100)
    blocks.write_bytes(content)


def folder_of(folder: Path) -> Path:
    (path,) = {each.parent for each in folder.rglob("CURRENT")}
    return path


async def filled_store(folder: Path, log: JoinLog) -> None:
    """A store with all records of a log in its files, and nothing in memory."""
    joiner = joiner_in(folder, log)
    await play(joiner, log, new_total())
    joiner._stores[TP(TOPIC, 0)].flush()
    joiner.close()


async def test_a_store_whose_blocks_are_damaged_is_emptied_and_filled_again_from_the_log(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, *range(500))
    await filled_store(tmp_path, log)
    await labels(log, *range(500))
    damage_blocks(tmp_path)
    joiner = joiner_in(tmp_path, log)
    run = Run(TOPIC, 0, log.records[1:])
    joiner._stores[TP(TOPIC, 0)] = JoinStore(folder_of(tmp_path), shared_cache())  # `prepare` would ask the broker
    with pytest.raises(DamagedStoreError, match="Corruption"):
        joiner.decode(run)
    store = joiner._stores[TP(TOPIC, 0)]
    assert store.position == 0
    joiner._take_in(store, Run(TOPIC, 0, log.records[:1]))  # as `prepare` does from the log
    ((_, rows),) = joiner.decode(run).rows
    joiner.close()
    assert len(rows) == 500


@pytest.mark.parametrize("checkpoint", [b"", b"nonsense", seal(b"\0" * 20, 2)[:-1], seal(b"\0" * 20, 9)])
async def test_a_store_with_a_checkpoint_that_is_damaged_or_newer_begins_anew(
    tmp_path: Path, checkpoint: bytes
) -> None:
    log = JoinLog(SPEC)
    await answers(log, *range(5))
    await filled_store(tmp_path, log)
    path = folder_of(tmp_path)
    database = Rdict(str(path), Options(raw_mode=True))
    database[b"\x00checkpoint"] = checkpoint
    database.close()
    store = JoinStore(path, shared_cache())
    assert (store.position, store.some(10)) == (0, [])
    store.close()


async def test_a_store_of_format_1_is_taken_up(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, *range(5))
    await filled_store(tmp_path, log)
    path = folder_of(tmp_path)
    database = Rdict(str(path), Options(raw_mode=True))
    database[b"\x00checkpoint"], _ = unseal(database[b"\x00checkpoint"], 2)
    database.close()
    store = JoinStore(path, shared_cache())
    assert (store.position, store.is_after(log.records[0]), len(store.some(10))) == (1, True, 5)
    store.close()


async def test_a_damaged_record_of_the_log_is_counted_and_named(tmp_path: Path) -> None:
    log = JoinLog(SPEC)
    await answers(log, 1)
    whole_record = log.records[0]
    log.records[0] = dataclasses.replace(whole_record, value=whole_record.value[:-3])
    joiner = joiner_in(tmp_path, log)
    await play(joiner, log, new_total())
    joiner.close()
    assert joiner._metrics.value("driftline_damaged_records_total", topic=TOPIC) == 1


async def test_a_long_run_is_joined_in_pieces() -> None:
    log = JoinLog(SPEC)
    for start in range(0, 16_000, 4_000):
        await answers(log, *range(start, start + 4_000))
    run = Run(TOPIC, 0, log.records)
    cut = list(pieces(run))
    assert len(cut) > 1
    assert [record for piece in cut for record in piece.records] == log.records


events = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=6)


async def in_runs(log: JoinLog, drawn: list[tuple[bool, int]], at: list[int]) -> None:
    """Forward events, cut into runs at these places."""
    bounds = sorted({0, *(place for place in at if place < len(drawn)), len(drawn)})
    for start, stop in itertools.pairwise(bounds):
        for is_label in (False, True):
            chosen = [number for kind, number in drawn[start:stop] if kind is is_label]
            if chosen:
                await (labels if is_label else answers)(log, *chosen)


@settings(max_examples=40, deadline=None)
@given(events, cuts)
async def test_any_order_and_any_repetition_of_predictions_and_labels_gives_the_same_totals(
    drawn: list[tuple[bool, int]], at: list[int]
) -> None:
    log, total = JoinLog(SPEC), new_total()
    await in_runs(log, drawn, at)
    with tempfile.TemporaryDirectory() as folder:
        joiner = joiner_in(Path(folder), log)
        await play(joiner, log, total)
        joiner.close()
    both = {number for is_label, number in drawn if is_label} & {number for is_label, number in drawn if not is_label}
    assert found(SPEC, whole(total.profile)) == expected(SPEC, both)


@settings(max_examples=40, deadline=None)
@given(events, cuts, st.data())
async def test_the_total_is_the_same_however_far_the_store_was_ahead_or_behind(
    drawn: list[tuple[bool, int]], at: list[int], data: st.DataObject
) -> None:
    log, straight = JoinLog(SPEC), new_total()
    await in_runs(log, drawn, at)
    places = st.integers(0, len(log.records))
    published, ahead = sorted((data.draw(places), data.draw(places)))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        joiner = joiner_in(Path(one), log)
        await play(joiner, log, straight)
        joiner.close()

        crashed = new_total()
        joiner = joiner_in(Path(other), log)
        await play(joiner, log, crashed, 0, published)
        await play(joiner, log, new_total(), published, ahead)  # counted, and never published
        await play(joiner, log, crashed, published)
        joiner.close()
    assert crashed.profile == straight.profile
    assert crashed.next_offset == straight.next_offset
