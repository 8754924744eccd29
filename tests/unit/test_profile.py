"""Profiles: adding, subtracting, and encodings that trust nothing."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest

from detector.profile import MAX_PHASES, PartKey, Profile, ProfileError, Vector, decode_part, encode_part
from schemas.model_spec import Stage
from schemas.profiles import ProfilePart

WIDTH = 6
MORNING: PartKey = (Stage.PRODUCTION, 8)
SHADOW: PartKey = (Stage.SHADOW, 0)


def vector(*entries: int) -> Vector:
    return np.array(entries, dtype=np.int64)


def inflated(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def deflated(body: bytes) -> str:
    return base64.b64encode(zlib.compress(body)).decode()


def test_adding_adds_parts_that_both_have_and_takes_over_the_others() -> None:
    total = Profile({MORNING: vector(0, 2, 1, 1, 0, -5)})
    total.add(Profile({MORNING: vector(0, 1, 0, 1, 0, 7), SHADOW: vector(0, 1, 1, 0, 0, 3)}))
    assert total == Profile({MORNING: vector(0, 3, 1, 2, 0, 2), SHADOW: vector(0, 1, 1, 0, 0, 3)})
    assert total.rows == 4


def test_adding_changes_neither_what_was_added_nor_a_copy() -> None:
    pane = Profile({MORNING: vector(0, 1, 1, 0, 0, 0)})
    total = Profile()
    total.add(pane)
    before = total.copy()
    total.add(pane)
    assert total.parts[MORNING].tolist() == [0, 2, 2, 0, 0, 0]
    assert pane == before
    assert pane.parts[MORNING].tolist() == [0, 1, 1, 0, 0, 0]


def test_a_difference_leaves_out_parts_in_which_nothing_differs() -> None:
    before = Profile({MORNING: vector(0, 1, 1, 0, 0, 0)})
    after = before.copy()
    after.add(Profile({SHADOW: vector(0, 1, 0, 1, 0, 0)}))
    assert list(after.subtract(before).parts) == [SHADOW]


def test_a_part_without_rows_makes_no_difference() -> None:
    assert Profile({MORNING: np.zeros(WIDTH, dtype=np.int64)}) == Profile()
    assert Profile({MORNING: vector(0, 1, 0, 0, 0, 0)}) != Profile()


def test_totals_that_wrap_still_subtract_exactly() -> None:
    almost = np.iinfo(np.int64).max
    before = Profile({MORNING: vector(0, 1, 1, 0, 0, almost)})
    after = before.copy()
    pane = Profile({MORNING: vector(0, 1, 1, 0, 0, 1_000)})
    after.add(pane)
    assert after.parts[MORNING][-1] < 0
    assert after.subtract(before) == pane


def test_profiles_of_different_layouts_do_not_mix() -> None:
    with pytest.raises(ProfileError, match="3 and 6 wide"):
        Profile({MORNING: vector(0, 1, 1)}).subtract(Profile({MORNING: vector(0, 1, 1, 0, 0, 0)}))


# ------------------------------------------------------------------------------------------------ encoding


def test_parts_travel_in_the_order_of_stages_and_phases() -> None:
    parts = {(stage, phase): vector(0, 1, 0, 0, 0, 0) for stage in reversed(Stage) for phase in (23, 0)}
    encoded = Profile(parts).encode_parts()
    assert [(part.stage, part.phase) for part in encoded] == [(stage, phase) for stage in Stage for phase in (0, 23)]


def test_parts_encoded_again_tell_what_was_added_meanwhile() -> None:
    total = Profile({MORNING: vector(0, 1, 1, 0, 0, 0), SHADOW: vector(0, 1, 0, 0, 0, 0)})
    first = total.encode_parts()
    total.add(Profile({SHADOW: vector(0, 1, 0, 1, 0, 0)}))
    second = total.encode_parts()
    assert first[0] == second[0]
    assert Profile.decode_parts(second, WIDTH) == total


def test_parts_that_are_still_the_same_are_taken_over_from_an_earlier_profile() -> None:
    total = Profile({MORNING: vector(0, 1, 1, 0, 0, 0), SHADOW: vector(0, 1, 0, 0, 0, 0)})
    earlier = Profile.decode_parts(total.encode_parts(), WIDTH)
    total.add(Profile({SHADOW: vector(0, 1, 0, 1, 0, 0)}))
    later = Profile.decode_parts(total.encode_parts(), WIDTH, like=earlier)
    assert later == total
    assert later.parts[MORNING] is earlier.parts[MORNING]
    assert later.parts[SHADOW] is not earlier.parts[SHADOW]


def test_equal_profiles_have_equal_text_whatever_order_their_parts_came_in() -> None:
    one, other = vector(0, 1, 2, 3, 4, 5), vector(1, 0, 0, 0, 0, -1)
    assert Profile({MORNING: one, SHADOW: other}).encode() == Profile({SHADOW: other, MORNING: one}).encode()


def test_a_sparse_vector_of_many_bins_is_short() -> None:
    wide = np.zeros(100_000, dtype=np.int64)
    wide[[3, 77, 99_999]] = [5, -1, 2**62]
    assert len(encode_part(wide)) < 100
    assert np.array_equal(decode_part(encode_part(wide), 100_000), wide)


def test_a_vector_of_another_layout_is_refused() -> None:
    with pytest.raises(ProfileError, match="6 wide where 7 was expected"):
        decode_part(encode_part(vector(1, 2, 3, 4, 5, 6)), 7)
    with pytest.raises(ProfileError, match="6 wide where 7 was expected"):
        Profile.decode(Profile({MORNING: vector(1, 2, 3, 4, 5, 6)}).encode(), 7)


@pytest.mark.parametrize("text", ["", "no base64!", "AAAA", base64.b64encode(b"not deflated").decode(), "ä"])
def test_text_that_is_no_encoding_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        decode_part(text, WIDTH)
    with pytest.raises(ProfileError):
        Profile.decode(text, WIDTH)


def test_every_truncation_is_refused() -> None:
    for text, decode in (
        (encode_part(vector(1, 2, 3, 4, 5, 6)), decode_part),
        (Profile({MORNING: vector(1, 2, 3, 4, 5, 6), SHADOW: vector(0, 1, 0, 0, 0, 0)}).encode(), Profile.decode),
    ):
        body = inflated(text)
        for length in range(len(body)):
            with pytest.raises(ProfileError):
                decode(deflated(body[:length]), WIDTH)
        with pytest.raises(ProfileError):
            decode(deflated(body + b"\0"), WIDTH)


def test_no_byte_changed_does_more_than_change_numbers_or_be_refused() -> None:
    body = inflated(Profile({MORNING: vector(1, 2, 3, 4, 5, 6), SHADOW: vector(0, 1, 0, 0, 0, 0)}).encode())
    for position in range(len(body)):
        for value in (0, 1, 127, 255):
            changed = deflated(body[:position] + bytes([value]) + body[position + 1 :])
            try:
                profile = Profile.decode(changed, WIDTH)
            except ProfileError:
                continue
            assert all(part.shape == (WIDTH,) for part in profile.parts.values())


def test_an_encoding_that_would_inflate_beyond_its_layout_is_refused_unread() -> None:
    bomb = deflated(bytes(50_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(ProfileError, match="larger than its layout allows"):
        decode_part(bomb, 20_000)
    with pytest.raises(ProfileError, match="larger than its layout allows"):
        decode_part(bomb, WIDTH)


def test_positions_outside_the_vector_are_refused() -> None:
    body = struct.pack("<BII", 1, WIDTH, 1) + struct.pack("<I", 99) + struct.pack("<Q", 2)
    with pytest.raises(ProfileError, match="positions out of range"):
        decode_part(deflated(body), WIDTH)


def test_a_part_that_comes_twice_or_in_an_impossible_phase_is_refused() -> None:
    part = ProfilePart(stage=Stage.PRODUCTION, phase=0, counts=encode_part(vector(0, 1, 0, 0, 0, 0)))
    for parts in (
        [part, part],
        [part.model_copy(update={"phase": MAX_PHASES})],
        [part.model_copy(update={"phase": -1})],
    ):
        with pytest.raises(ProfileError, match="repeated or impossible"):
            Profile.decode_parts(parts, WIDTH)
