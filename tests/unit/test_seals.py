"""Seals of saved records: what was changed is refused, what is newer is told apart, what is older is brought up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import seals
from agents.seals import FORMAT, FORMAT_HEADER, check_seal, event_today, seal_of
from detector.state import UNSEALED, NewerStateError, StateError

VALUE = b'{"kind": "total", "rows": 17}'


@given(st.binary())
def test_a_value_fits_its_own_seal(value: bytes) -> None:
    assert check_seal(value, seal_of(value)) == FORMAT


@given(st.integers(0, 8 * len(VALUE) - 1))
def test_a_value_with_a_flipped_bit_does_not_fit(bit: int) -> None:
    damaged = bytearray(VALUE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StateError, match="checksum is wrong"):
        check_seal(bytes(damaged), seal_of(VALUE))


@given(st.integers(0, len(VALUE) - 1))
def test_a_value_that_is_cut_off_does_not_fit(length: int) -> None:
    with pytest.raises(StateError, match="checksum is wrong"):
        check_seal(VALUE[:length], seal_of(VALUE))


@given(st.sampled_from([0, 1]), st.binary(max_size=12))
def test_a_seal_that_was_changed_fits_nothing(which: int, content: bytes) -> None:
    seal = seal_of(VALUE)
    if content != seal[which][1]:
        seal[which] = (seal[which][0], content)
        with pytest.raises(StateError):
            check_seal(VALUE, seal)


@pytest.mark.parametrize("kept", [0, 1])
def test_half_a_seal_fits_nothing(kept: int) -> None:
    with pytest.raises(StateError):
        check_seal(VALUE, [seal_of(VALUE)[kept]])


def test_a_value_without_a_seal_is_of_format_1() -> None:
    assert check_seal(VALUE, [("ce_id", b"17")]) == UNSEALED


def test_a_sound_value_of_a_newer_format_is_told_from_a_damaged_one() -> None:
    with pytest.raises(NewerStateError):
        check_seal(VALUE, seal_of(VALUE, FORMAT + 1))
    with pytest.raises(StateError, match="checksum is wrong"):
        check_seal(VALUE, [(FORMAT_HEADER, str(FORMAT + 1).encode()), seal_of(VALUE)[1]])


def test_an_event_is_brought_to_today_s_format_by_the_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "EVENT_MIGRATIONS", {1: lambda event: event | {"lines": event["rows"]}})
    assert json.loads(event_today(VALUE, 1)) == {"kind": "total", "rows": 17, "lines": 17}
    assert event_today(VALUE, 2) is VALUE
    with pytest.raises(StateError, match="no JSON"):
        event_today(b"{", 1)
