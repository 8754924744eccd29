"""However a stream is spread over partitions and published, its events are recomputed to the last digit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.layout import Layout
from detector.totals import RunningTotal
from schemas.model_spec import Stage
from tests.support.history import History
from tests.support.stream import Stream, watched_model

SPEC = watched_model(reference_rows=2_000)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    turns=st.lists(st.tuples(st.integers(0, 2), st.integers(20, 60)), min_size=90, max_size=90),
    shift=st.floats(1.5, 4.0),
    stage=st.sampled_from([Stage.PRODUCTION, Stage.CANARY]),
)
def test_every_event_of_a_stream_is_recomputed_from_its_rows(
    seed: int, turns: list[tuple[int, int]], shift: float, stage: Stage
) -> None:
    history = History(SPEC)
    streams = [Stream(seed + partition, partition) for partition in range(3)]
    totals = [RunningTotal(Layout(SPEC), "predictions", partition) for partition in range(3)]
    for number, (partition, rows) in enumerate(turns):
        stream, total = streams[partition], totals[partition]
        total.add(stream.rows(rows, shift=shift if number > 60 else 0.0, stage=stage), stream.offset)
        history.feed(total.to_event())
    assert history.events
    for event in history.events:
        assert event.stage is stage
        assert {each.is_equal for each in history.replayed(event)} == {True}
