"""Crashes at every step, partly written publications and late writes of zombies: each row counts exactly once.

No broker: what a broker would keep (the saved records and the committed offset) is a dictionary and a number here, and
hypothesis decides where each owner of the partition dies.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.formats import RunDecoder
from agents.partition_totals import Address, PartitionLedger, Snapshot
from agents.recovery import Log, restore
from agents.registry import Registration
from agents.runs import Run
from agents.statelog import Saved
from detector.layout import Layout
from detector.profile import Profile
from detector.rows import Source
from schemas.profiles import PROFILE_EVENT, ProfileTotal
from tests.support.decoding import Limits
from tests.support.profiling import event, registered

TOPIC_PARTITION = TP("driftline.predictions", 0)
MODELS = ("a", "b")
EVERYTHING = 1_000
SPECS = {(model, "1"): registered(model) for model in MODELS}
REGISTERED = {name: Registration(spec, Layout(spec), 0, spec.hash) for name, spec in SPECS.items()}


def lookup(model: str, version: str) -> Registration | None:
    return REGISTERED.get((model, version))


def record(offset: int, kind: str) -> ConsumerRecord:
    """The record at an offset: of a registered model, of a stranger, or one that is no event."""
    value = b"{" if kind == "bad" else event(offset, kind)
    return ConsumerRecord(*TOPIC_PARTITION, offset, offset, 0, None, value, None, 0, len(value), ())


@dataclass
class Broker:
    """What outlives the owners of the partition."""

    log: list[ConsumerRecord]
    saved: dict[Address, bytes] = field(default_factory=dict)
    committed: int | None = None

    def write(self, snapshot: Snapshot, entries: int) -> None:
        """Acknowledge the first so many entries of a publication."""
        for entry in snapshot.entries[:entries]:
            assert entry.value is not None
            self.saved[entry.key, entry.partition] = entry.value

    def remove(self, snapshot: Snapshot) -> None:
        """Remove what the publication replaces."""
        for address in (*snapshot.stale, *(old for olds in snapshot.replaces.values() for old in olds)):
            self.saved.pop(address, None)

    def furthest(self) -> dict[str, ProfileTotal]:
        """The total of each model that has come furthest."""
        totals = [PROFILE_EVENT.validate_json(value) for value in self.saved.values()]
        ranked = sorted((t for t in totals if isinstance(t, ProfileTotal)), key=lambda total: total.next_offset)
        return {total.model: total for total in ranked}

    def ledger(self, generation: int, every_rows: int | None) -> PartitionLedger:
        """The books of a new owner."""
        ledger = PartitionLedger(TOPIC_PARTITION, Source.PREDICTIONS, generation, every_rows, profile_partitions=3)
        records = [Saved(key, partition, value) for (key, partition), value in self.saved.items()]
        restore(ledger, records, lookup, Log(0, len(self.log), self.committed))
        return ledger


def count_to(ledger: PartitionLedger, decoder: RunDecoder, log: list[ConsumerRecord], stop: int) -> None:
    """Count a run as the profiler does."""
    run = Run(*TOPIC_PARTITION, log[ledger.position : stop])
    decoded = decoder.decode(run, Source.PREDICTIONS)
    for name, (registration, first_row) in ledger.unready(decoded).items():
        ledger.adopt(name, ledger.open(registration, ledger.begin(registration, first_row)))
    ledger.count(run, decoded)


KINDS = (*MODELS, *MODELS, "stranger", "bad")
STEPS = ("all", "all", "all", "no removal", "no commit", "part written", "zombie")
"""How far a flush gets before its worker dies; after "all" it lives on."""


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([None, 1, 4]))
def test_whatever_dies_when_each_row_counts_exactly_once(seed: int, every: int | None) -> None:
    chance = random.Random(seed)  # hypothesis draws long schedules too rarely by itself
    broker = Broker([record(offset, chance.choice(KINDS)) for offset in range(chance.randint(1, 60))])
    decoder, end = RunDecoder(lookup, Limits()), len(broker.log)
    zombies: list[Snapshot] = []
    for generation in range(chance.randint(0, 6)):
        ledger = broker.ledger(generation, every)
        for _ in range(chance.randint(0, 5)):
            for _ in range(chance.randint(0, 2)):
                if ledger.position < end:
                    count_to(ledger, decoder, broker.log, chance.randint(ledger.position + 1, end))
            if not flush(broker, ledger.snapshot(), chance.choice(STEPS), zombies):
                break
        if zombies and chance.random() < 0.5:
            broker.write(zombies.pop(), EVERYTHING)
    last = broker.ledger(99, None if every is None else 1)
    if last.position < end:
        count_to(last, decoder, broker.log, end)
    assert flush(broker, last.snapshot(), "all", zombies)
    for late in zombies:
        broker.write(late, EVERYTHING)
    assert {model: content(total) for model, total in broker.furthest().items()} == counted_at_once(broker.log)


def flush(broker: Broker, snapshot: Snapshot, step: str, zombies: list[Snapshot]) -> bool:
    """Publish, commit, remove, and die at a step; False when dead."""
    if step == "zombie":
        zombies.append(snapshot)
        return False
    broker.write(snapshot, len(snapshot.entries) // 2 if step == "part written" else EVERYTHING)
    if step in ("part written", "no commit"):
        return False
    broker.committed = max(snapshot.commit, broker.committed or 0)
    if step == "no removal":
        return False
    broker.remove(snapshot)
    return True


def counted_at_once(log: list[ConsumerRecord]) -> dict[str, tuple[int, list[int]]]:
    """What one owner that never dies would publish."""
    broker = Broker(log)
    ledger = broker.ledger(0, None)
    count_to(ledger, RunDecoder(lookup, Limits()), log, len(log))
    broker.write(ledger.snapshot(), EVERYTHING)
    return {model: content(total) for model, total in broker.furthest().items()}


def content(total: ProfileTotal) -> tuple[int, list[int]]:
    """Rows, and rows in each bin of the feature ``x``."""
    layout = REGISTERED[total.model, total.version].layout
    assert layout is not None
    (vector,) = Profile.decode_parts(total.parts, layout.width).parts.values()
    return total.rows, layout.signal_counts(vector)[0].tolist()
