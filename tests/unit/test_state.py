"""Saved state: exact, deterministic, and safe to read."""

from __future__ import annotations

import pickle
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.state import FORMAT, NewerStateError, StateError, migrated, pack, seal, unpack, unseal

STATE = {"counts": np.arange(6).reshape(2, 3), "evidence": np.array([0.1, -np.inf]), "when": None, "by": {"a": [1, 2]}}


def test_what_was_packed_is_read_back_exactly() -> None:
    read = unpack(pack(STATE))
    assert read["counts"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["counts"].dtype == np.int64
    assert read["evidence"].tolist() == [0.1, -np.inf]
    assert (read["when"], read["by"]) == (None, {"a": [1, 2]})


def test_equal_states_give_equal_bytes_whatever_the_order_of_their_keys() -> None:
    assert pack(STATE) == pack(dict(reversed(STATE.items())))


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", pickle.dumps(STATE), zlib.compress(b"\xc1"), zlib.compress(b"\x01")]
)
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        unpack(data)


def test_an_object_that_cannot_be_saved_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match="cannot be saved"):
        pack({"odd": object()})


def test_an_array_of_objects_is_refused_when_it_is_read() -> None:
    with pytest.raises(StateError, match="unexpected type"):
        unpack(pack({"text": np.array(["a", "b"])}))


PACKED = pack(STATE)


@given(st.integers(0, 8 * len(PACKED) - 1))
def test_a_state_with_a_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(PACKED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StateError):
        unpack(bytes(damaged))


@given(st.integers(0, len(PACKED) - 1))
def test_a_state_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(StateError):
        unpack(PACKED[:length])


@given(st.lists(st.tuples(st.integers(0, len(PACKED) - 1), st.integers(0, 255)), min_size=1))
def test_a_state_that_was_written_over_is_refused_or_the_same(bytes_: list[tuple[int, int]]) -> None:
    damaged = bytearray(PACKED)
    for place, value in bytes_:
        damaged[place] = value
    if damaged != PACKED:
        with pytest.raises(StateError):
            unpack(bytes(damaged))


def test_a_state_without_a_seal_is_of_format_1_and_is_read() -> None:
    body, _ = unseal(PACKED, FORMAT)
    assert unpack(body)["counts"].tolist() == STATE["counts"].tolist()  # type: ignore[attr-defined]


def test_a_state_of_format_1_that_is_cut_off_is_refused() -> None:
    body, _ = unseal(PACKED, FORMAT)
    for length in range(len(body)):
        with pytest.raises(StateError):
            unpack(body[:length])


def test_a_sound_state_of_a_newer_format_is_told_from_a_damaged_one() -> None:
    newer = seal(b"who knows", FORMAT + 1)
    with pytest.raises(NewerStateError, match=f"its format is {FORMAT + 1}, and this release reads up to {FORMAT}"):
        unpack(newer)
    with pytest.raises(StateError, match="checksum"):
        unpack(newer + b".")


def test_an_older_state_goes_through_all_later_migrations_oldest_first() -> None:
    table = {
        3: lambda state: {"path": [*state["path"], 3]},
        1: lambda state: {"path": [*state["path"], 1]},
        2: lambda state: {"path": [*state["path"], 2]},
    }
    assert [migrated({"path": []}, written, table)["path"] for written in (1, 2, 3, 4)] == [[1, 2, 3], [2, 3], [3], []]


def test_a_migration_that_does_not_find_what_it_expects_refuses_the_state() -> None:
    with pytest.raises(StateError, match="of format 1 cannot be brought to format 2"):
        migrated({}, 1, {1: lambda state: {"new": state["old"]}})
