"""Saved state: exact, deterministic, and safe to read."""

from __future__ import annotations

import pickle
import zlib

import numpy as np
import pytest

from detector.state import StateError, pack, unpack

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
