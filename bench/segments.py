"""What breaking rows down costs: by the row where they are counted, by the step where they are judged, and in bytes.

``python -m bench.segments`` decodes and counts the same events without segments, with one field, with two, and judges
them. Times are those of the processor, so that a busy machine changes them little; what a worker makes of it is
measured by ``bench.throughput --segments 2``.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from aiokafka.structs import ConsumerRecord
from rich.table import Table

from agents.formats.native import RunDecoder
from agents.registry import Registration
from agents.runs import Run
from agents.settings import Settings
from bench.events import EventSource, Shape, specs
from bench.output import add_json_option, console_for, write_json
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.rows import Source
from detector.totals import RunningTotal
from schemas import codec
from schemas.model_spec import ModelSpec

T = TypeVar("T")

TRIES: Final = 5
RUN_RECORDS: Final = 1_000
STEP_ROWS: Final = 512
"""Rows between two totals that are judged."""
MEMORY_STEPS: Final = 40
FIELDS: Final = (0, 1, 2)
START: Final = 1_714_564_800.0


def measure(shape: Shape, runs: int, steps: int) -> dict[str, float]:
    """Measure one shape."""
    (spec,) = specs(replace(shape, models=1))
    layout = Layout(spec)
    total = RunningTotal(layout, "predictions", 0)
    decoder = _decoder(spec, layout)
    prepared = _runs(shape, runs, RUN_RECORDS)
    decoding, decoded = _fastest(lambda: [decoder.decode(run, Source.PREDICTIONS).rows[0][1] for run in prepared])
    counting, _ = _fastest(lambda: [layout.count(rows) for rows in decoded])
    rows = runs * RUN_RECORDS
    total.add(decoded[0], prepared[0].next_offset)
    event = total.to_event()
    _, judging = _judged(spec, layout, shape, steps)
    tracemalloc.start()
    judge, _ = _judged(spec, layout, shape, MEMORY_STEPS)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "segments": 0 if layout.segments is None else len(layout.segments),
        "decode_us_per_row": round(decoding / rows * 1e6, 3),
        "count_us_per_row": round(counting / rows * 1e6, 3),
        "judge_ms_per_step": round(judging * 1e3, 2),
        "total_bytes": len(codec.encode(event)),
        "judge_bytes": held,
        "state_bytes": len(judge.state()),
    }


def _fastest(work: Callable[[], T]) -> tuple[float, T]:
    """Processor time of the fastest of some tries, and what it made."""
    tries = []
    for _ in range(TRIES):
        began = time.process_time()
        made = work()
        tries.append(time.process_time() - began)
    return min(tries), made


def _judged(spec: ModelSpec, layout: Layout, shape: Shape, steps: int) -> tuple[ModelJudge, float]:
    """Judge some steps, and return the processor time of one."""
    judge, total, decoder = ModelJudge(spec), RunningTotal(layout, "predictions", 0), _decoder(spec, layout)
    spent = 0.0
    for run in _runs(shape, steps, STEP_ROWS):
        total.add(decoder.decode(run, Source.PREDICTIONS).rows[0][1], run.next_offset)
        event = total.to_event()
        began = time.process_time()
        judge.fold(event)
        spent += time.process_time() - began
    return judge, spent / steps


def _decoder(spec: ModelSpec, layout: Layout) -> RunDecoder:
    registration = Registration(spec, layout, 0, spec.hash)
    return RunDecoder(lambda _model, _version: registration, Settings())


def _runs(shape: Shape, runs: int, records: int) -> Sequence[Run]:
    """Runs of records whose times are as far apart as steps may follow each other."""
    source, made = EventSource(shape), []
    for number in range(runs):
        at = START + 10.0 * number
        values = source.at(at)
        first = number * records
        made.append(Run("predictions", 0, [
            ConsumerRecord("predictions", 0, first + n, int(at * 1000), 0, None, next(values), None, 0, 0, ())
            for n in range(records)
        ]))  # fmt: skip
    return made


def compare(shape: Shape, runs: int, steps: int, told: Callable[[str], None]) -> list[dict[str, float]]:
    """Measure without and with segments."""
    found = []
    for fields in FIELDS:
        told(f"{fields} fields")
        found.append({"fields": fields, **measure(replace(shape, segments=fields), runs, steps)})
    plain = found[0]["decode_us_per_row"] + found[0]["count_us_per_row"]
    for each in found:
        each["share_of_throughput"] = round(plain / (each["decode_us_per_row"] + each["count_us_per_row"]), 3)
    return found


def table(result: list[dict[str, Any]], features: int) -> Table:
    """Lay the result out for people."""
    out = Table(title=f"Rows of {features} features, broken down")
    for heading in result[0]:
        out.add_column(heading.replace("_", " "), justify="right")
    for each in result:
        out.add_row(*(f"{value:,}" for value in each.values()))
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.segments", description=__doc__.split("\n\n")[0])
    parser.add_argument("--features", type=int, default=20, help="numeric features (default 20)")
    parser.add_argument("--runs", type=int, default=20, help="of 1,000 events each (default 20)")
    parser.add_argument("--steps", type=int, default=200, help="steps judged (default 200)")
    add_json_option(parser)
    options = parser.parse_args()
    console = console_for(options.json)
    with console.status("measuring ...") as status:
        told = lambda what: status.update(f"measuring {what} ...")  # noqa: E731
        result = compare(Shape(features=options.features), options.runs, options.steps, told)
    console.print(table(result, options.features))
    write_json(result, options.json)


if __name__ == "__main__":
    main()
