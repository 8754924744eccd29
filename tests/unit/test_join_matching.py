"""What waits under an id, and what one more prediction or label makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.joins.matching import (
    Fate,
    Match,
    Part,
    arrive,
    decode_entry,
    encode_entry,
    is_over,
    unmatched,
)

WAIT_MS = 1_000


def wait(name: str) -> float:
    return WAIT_MS


def answer(place: int, version: str = "1", stamp: int = 0, payload: bytes = b"answer") -> Part:
    return Part(False, f"m/{version}", place, stamp, 0.0, 0, payload)


def label(place: int, version: str = "", stamp: int = 0, payload: bytes = b"label") -> Part:
    return Part(True, f"m/{version}", place, stamp, 0.0, 0, payload)


def play(*parts: Part) -> tuple[list[Part], list[Match], list[Fate | None]]:
    entry: list[Part] = []
    matches: list[Match] = []
    fates: list[Fate | None] = []
    for part in parts:
        arrival = arrive(entry, part, wait)
        entry = arrival.entry
        matches += arrival.matches
        fates.append(arrival.fate)
    return entry, matches, fates


def test_a_label_matches_the_prediction_that_waits() -> None:
    _, matches, fates = play(answer(1), label(2))
    assert matches == [Match(answer(1), label(2))]
    assert fates == [None, Fate.MATCHED]


def test_a_prediction_matches_the_label_that_waits() -> None:
    _, matches, fates = play(label(1), answer(2))
    assert matches == [Match(answer(2), label(1))]
    assert fates == [None, Fate.MATCHED]


def test_the_same_label_again_is_a_duplicate_and_another_one_a_correction() -> None:
    _, matches, fates = play(answer(1), label(2), label(3), label(4, payload=b"other"))
    assert matches == [Match(answer(1), label(2))]
    assert fates[2:] == [Fate.DUPLICATE, Fate.CORRECTED]


def test_the_same_prediction_again_changes_nothing() -> None:
    _, matches, _ = play(answer(1), answer(2, payload=b"other"), label(3), answer(4))
    assert matches == [Match(answer(1), label(3))]


def test_a_label_matches_the_predictions_of_all_versions_under_its_id() -> None:
    _, matches, _ = play(answer(1, "1"), answer(2, "2"), label(3), answer(4, "3"))
    assert [(match.prediction.name, match.label.place) for match in matches] == [("m/1", 3), ("m/2", 3), ("m/3", 3)]


def test_a_label_that_names_a_version_matches_that_one_only() -> None:
    _, matches, fates = play(answer(1, "1"), label(2, "2"))
    assert matches == []
    assert fates[-1] is None
    _, matches, _ = play(answer(1, "1"), label(2, "2"), answer(3, "2"))
    assert [match.prediction.name for match in matches] == ["m/2"]


def test_a_label_for_any_version_and_one_for_this_version_count_once() -> None:
    _, matches, fates = play(label(1), label(2, "1"), answer(3))
    assert matches == [Match(answer(3), label(1))]
    _, matches, fates = play(answer(1), label(2, "1"), label(3))
    assert matches == [Match(answer(1), label(2, "1"))]
    assert fates[-1] is Fate.DUPLICATE


def test_a_label_after_its_prediction_s_time_is_expired() -> None:
    late = label(2, stamp=WAIT_MS + 1)
    _, matches, fates = play(answer(1), late)
    assert matches == []
    assert fates[-1] is Fate.EXPIRED


def test_a_label_at_the_end_of_the_time_still_matches() -> None:
    assert len(play(answer(1), label(2, stamp=WAIT_MS))[1]) == 1


def test_an_id_that_is_used_again_after_its_time_begins_anew() -> None:
    later = WAIT_MS + 1
    _, matches, _ = play(answer(1), label(2), answer(3, stamp=later), label(4, stamp=later, payload=b"other"))
    assert [(match.prediction.place, match.label.place) for match in matches] == [(1, 2), (3, 4)]


def test_an_entry_is_over_when_the_time_of_all_its_parts_is_up() -> None:
    entry = [answer(1, stamp=0), label(2, stamp=500)]
    assert not is_over(entry, 500 + WAIT_MS, wait)
    assert is_over(entry, 501 + WAIT_MS, wait)


def test_a_label_without_a_prediction_of_its_version_is_unmatched() -> None:
    assert unmatched([answer(1, "1"), label(2, "2"), label(3)]) == [label(2, "2")]
    assert unmatched([label(1)]) == [label(1)]


parts = st.builds(
    Part,
    st.booleans(),
    st.sampled_from(["m/", "m/1", "modèle/β"]),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.floats(allow_nan=False),
    st.integers(0, 2),
    st.binary(max_size=40),
)


@given(st.lists(parts, max_size=4))
def test_an_entry_is_read_back_as_it_was_written(entry: list[Part]) -> None:
    assert decode_entry(encode_entry(entry)) == entry


arrivals = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["", "1", "2"]), st.integers(0, 2)), min_size=1, max_size=8
).map(
    lambda drawn: [
        Part(is_label, f"m/{version or ('' if is_label else '1')}", place, 0, 0.0, 0, bytes([payload]))
        for place, (is_label, version, payload) in enumerate(drawn)
    ]
)


@given(arrivals, st.data())
def test_reading_the_log_again_from_anywhere_gives_the_same_matches_at_the_same_places(
    log: list[Part], data: st.DataObject
) -> None:
    def at_places(entry: list[Part], start: int) -> tuple[list[Part], dict[int, list[Match]]]:
        given_: dict[int, list[Match]] = {}
        for part in log[start:]:
            arrival = arrive(entry, part, wait)
            entry = arrival.entry
            given_[part.place] = arrival.matches
        return entry, given_

    entry, once = at_places([], 0)
    start = data.draw(st.integers(0, len(log)))
    again, repeated = at_places(entry, start)
    assert again == entry
    assert repeated == {place: matches for place, matches in once.items() if place >= start}


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=4))
def test_any_order_and_any_repetition_match_the_same_pairs(order: list[int], repeated: list[int]) -> None:
    contents = [(False, "1"), (False, "2"), (True, ""), (False, "3"), (True, ""), (False, "1")]
    log = [
        Part(contents[index][0], f"m/{contents[index][1]}", place, 0, 0.0, 0, b"x")
        for place, index in enumerate([*order, *repeated])
    ]
    _, matches, _ = play(*log)
    assert sorted(match.prediction.name for match in matches) == ["m/1", "m/2", "m/3"]
