"""What it costs to wait for a label: bytes on the disk for each pending prediction, and joins a second of one core.

``python -m bench.joins --json -`` forwards predictions with and without features as the worker does, takes them into a
store, and then their labels, in another order. No broker takes part: it is the join alone, and its time is processor
time, with that of RocksDB's own threads.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from rich.table import Table

from agents.joins.forwarding import Forward, Forwarder
from agents.joins.joiner import Joiner
from agents.metrics import Metrics
from agents.producer import Outgoing
from agents.registry import Registration
from agents.runs import Run
from agents.settings import Settings
from bench.events import Shape, labelled_specs
from bench.output import add_json_option, console_for, write_json
from detector.layout import Layout
from schemas.model_spec import ModelSpec

RUN_ROWS: Final = 2_000
ASKED_BYTES: Final = 150
START_MS: Final = 1_714_564_800_000
MODEL_VERSION: Final = "2024-05-01.3"


@dataclass
class _Log:
    """Stands for the topic of joins: one partition."""

    records: list[ConsumerRecord] = field(default_factory=list)

    async def deliver(self, records: Iterable[Outgoing], timeout_s: float | None = None) -> None:
        for record in records:
            value = record.value or b""
            at = ConsumerRecord("joins", 0, len(self.records), START_MS, 0, None, value, None, 0, len(value), ())
            self.records.append(at)


class _OneModel:
    """Stands for the registry."""

    revision = 0

    def __init__(self, spec: ModelSpec) -> None:
        self._registration = Registration(spec, Layout(spec), 0, spec.hash)

    def lookup(self, model: str, version: str) -> Registration | None:
        return self._registration

    def versions(self, model: str) -> tuple[Registration, ...]:
        return (self._registration,)


def _forwards(spec: ModelSpec, ids: list[str], *, are_labels: bool, with_features: bool) -> Iterator[Forward]:
    rng = np.random.default_rng(3)
    assert spec.outcomes is not None  # noqa: S101
    for start in range(0, len(ids), RUN_ROWS):
        chunk = ids[start : start + RUN_ROWS]
        features = tuple(rng.normal(size=(len(spec.features), len(chunk)))) if with_features else ()
        yield Forward(
            model=spec.model,
            version="" if are_labels else spec.version,
            ids=chunk,
            times=1.7e9 + np.arange(start, start + len(chunk), dtype=np.float64),
            stages=np.zeros(len(chunk), dtype=np.int8),
            outcomes=spec.outcomes,
            labels=["1"] * len(chunk) if are_labels else None,
            watched=None if are_labels else rng.random(len(chunk)),
            features=() if are_labels else features,
        )


async def _written(spec: ModelSpec, ids: list[str], log: _Log, **kind: bool) -> float:
    """Forward, and return the seconds that it took."""
    forwarder = Forwarder("joins", log, Metrics())
    await forwarder.follow(1)
    began = time.process_time()
    for forward in _forwards(spec, ids, **kind):
        forwarder.add([forward])
        await forwarder.deliver()
    return time.process_time() - began


def _joined(joiner: Joiner, records: list[ConsumerRecord]) -> tuple[float, int]:
    """Join, and return the processor seconds that it took and the rows that came of it."""
    rows, began = 0, time.process_time()
    for record in records:
        rows += sum(len(found) for _, found in joiner.decode(Run("joins", 0, [record])).rows)
    return time.process_time() - began, rows


async def measure(count: int, *, with_features: bool) -> dict[str, float]:
    """Measure with so many predictions."""
    spec = labelled_specs(Shape())[0].model_copy(update={"version": MODEL_VERSION})
    ids = [f"{number:08x}-7f3a-4e21-9d55-{number * 2_654_435_761 % 2**48:012x}" for number in range(count)]
    predictions, labels = _Log(), _Log()
    forwarding = await _written(spec, ids, predictions, are_labels=False, with_features=with_features)
    shuffled = [ids[place] for place in np.random.default_rng(5).permutation(count).tolist()]
    forwarding += await _written(spec, shuffled, labels, are_labels=True, with_features=False)
    later = [record.__class__(**{**record.__dict__, "offset": record.offset + len(predictions.records)})
             for record in labels.records]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder), topic_prefix="")
        joiner = Joiner(settings, _OneModel(spec), Metrics())  # type: ignore[arg-type]
        await joiner.prepare(TP("joins", 0), 0, lambda: True)
        storing, _ = _joined(joiner, predictions.records)
        (store,) = joiner._stores.values()
        before = _size(Path(folder))
        store.flush()
        after = _size(Path(folder))
        joining, rows = _joined(joiner, later)
        joiner.close()
    if rows != count:
        raise RuntimeError(f"{rows} of {count} labels found their predictions")
    return {
        "pending": count,
        "bytes_in_topic": round(sum(len(record.value) for record in predictions.records) / count, 1),
        "bytes_on_disk": round(after / count, 1),
        "bytes_on_disk_before_compaction": round(before / count, 1),
        "forward_us": round(forwarding / count * 1e6, 2),
        "store_us": round(storing / count * 1e6, 2),
        "match_us": round(joining / count * 1e6, 2),
        "joins_per_s": round(count / (forwarding + storing + joining)),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "LOG")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.joins", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pending", type=int, default=500_000, help="predictions that wait (default 500,000)")
    add_json_option(parser)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "without_features": asyncio.run(measure(options.pending, with_features=False)),
        "with_20_features": asyncio.run(measure(options.pending // 5, with_features=True)),
    }
    table = Table(title=f"A pending prediction (asked: at most {ASKED_BYTES} bytes without features)")
    for heading in ("", *result):
        table.add_column(heading, justify="left" if not heading else "right")
    for key in result["without_features"]:
        table.add_row(key, *(f"{numbers[key]:,}" for numbers in result.values()))
    console_for(options.json).print(table)
    write_json(result, options.json)


if __name__ == "__main__":
    main()
