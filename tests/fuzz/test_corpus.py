"""What fuzzing once found, and what it starts from, is read without a fault; hypothesis looks a little further."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.seeds import SEEDS, WORDS
from tests.fuzz.targets import TARGETS

FOUND = sorted(CORPUS.glob("*-*"))


def mutated(name: str) -> st.SearchStrategy[bytes]:
    """Seeds with pieces cut out, doubled, or put in."""
    words = st.sampled_from([word.encode() for word in WORDS[name]])
    pieces = st.one_of(words, st.binary(max_size=6), st.just(b""))

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(SEEDS[name]))
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(data)))
            stop = draw(st.integers(start, min(start + 12, len(data))))
            data = data[:start] + draw(pieces) + data[stop:]
        return data

    return build()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_once_is_mended(path: Path) -> None:
    TARGETS[path.name.split("-")[0]](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@settings(max_examples=60, deadline=None)
@given(mutated("events"))
def test_events_with_a_few_bytes_changed_are_read_or_refused(data: bytes) -> None:
    TARGETS["events"](data)


@settings(max_examples=60, deadline=None)
@given(mutated("expressions"))
def test_expressions_with_a_few_characters_changed_are_read_or_refused(data: bytes) -> None:
    TARGETS["expressions"](data)


@settings(max_examples=15, deadline=None)
@given(mutated("specs"))
def test_spec_files_with_a_few_characters_changed_are_read_or_refused(data: bytes) -> None:
    TARGETS["specs"](data)
