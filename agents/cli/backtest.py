"""``driftline backtest``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.cli.common import err, out, taught

if TYPE_CHECKING:
    from agents.backtest import FileBacktest
    from agents.rehearsal import Rehearsal
    from schemas.outbound import DriftEvent


@taught
def backtest(
    *,
    spec_path: Annotated[Path, typer.Argument(metavar="SPEC.yaml", show_default=False)],
    data: Annotated[Path, typer.Argument(metavar="DATA", show_default=False,
                    help="csv, csv.gz or parquet, in the order in which rows came.")],
    reference_rows: Annotated[int | None, typer.Option(min=1, metavar="N", show_default="the spec's reference",
                              help="Compare with the first N rows of the data.")] = None,
    reference_until: Annotated[datetime | None, typer.Option(metavar="TIME", show_default=False,
                               formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"],
                               help="Compare with the rows before this time (UTC where it says nothing else).")] = None,
    events: Annotated[Path | None, typer.Option(metavar="OUT.jsonl", show_default=False,
                      help="Write each drift event as a line of JSON; - is standard output.")] = None,
    responses: Annotated[Path | None, typer.Option(metavar="OUT.jsonl", show_default=False,
                         help="Write what the spec's policy makes of them: responses, retrain requests, alerts, "
                              "digests; - is standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    every_rows: Annotated[int | None, typer.Option(min=1, metavar="K", show_default="steps.min_rows of the spec",
                          help="Look after every K rows, as a worker that publishes so often.")] = None,
) -> None:  # fmt: skip
    """
    What would have been found in last year's data? Runs what the worker runs, over a file, in the file's order.

    Features stand in columns of their own names; time, prediction, score, version and stage under the names that
    `columns` in the spec gives. Each event has `row`, the index of the last data row read when it was raised.

    [bold]Examples[/bold]

    $ driftline backtest churn-3.yaml 2024.parquet --events found.jsonl
    $ driftline backtest churn-3.yaml 2024.csv.gz --reference-until 2024-04-01
    $ driftline backtest churn-3.yaml 2024.parquet --responses followed.jsonl
    """
    from agents.backtest import FileBacktest, ReferenceCut
    from agents.files import DataFile, RowReader
    from agents.rehearsal import Rehearsal
    from agents.spec_file import read_spec

    until = reference_until.replace(tzinfo=reference_until.tzinfo or UTC) if reference_until else None
    spec = read_spec(spec_path)
    file = DataFile(data)
    rehearsal = Rehearsal()
    with _progress(data, file.rows) as progress, _lines(events) as sink, _lines(responses) as followed:
        run = FileBacktest(RowReader(file, spec), ReferenceCut(reference_rows, until),
                           every_rows or spec.steps.min_rows, progress,
                           rehearsal.look if followed is not None else lambda _backtest: None)  # fmt: skip
        found = []
        for event in run.events():
            found.append(event)
            if sink is not None:
                sink.write(event.model_dump_json() + "\n")
            if followed is not None:
                rehearsal.take(event, run.judged.spec)
        if followed is not None:
            _follow(run, rehearsal, followed)
    if as_json:
        typer.echo(json.dumps(_result(run, found), indent=2))
    elif events is None or str(events) != "-":
        _show(run, found)


def _follow(run: FileBacktest, rehearsal: Rehearsal, file: TextIO) -> None:
    """Write what would have followed."""
    from schemas.topics import topic_of

    if run.judged.time is None:
        run.reader.notes.append("nothing follows in a file without times: cooldowns and digests go by them")
    told = [(topic_of(type(decision).__name__).name, decision) for decision in rehearsal.decisions]
    file.writelines(json.dumps({"topic": topic, **decision.model_dump(mode="json")}) + "\n" for topic, decision in told)
    counts = Counter(topic for topic, _ in told)
    shown = ", ".join(f"{number} {topic}" for topic, number in counts.items()) or "nothing"
    run.reader.notes.append(f"by the spec's policy there would have followed: {shown}")


@contextmanager
def _progress(data: Path, rows: int | None) -> Iterator[Any]:
    """Show how far the file has been read, on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(data.name, total=rows)
        yield lambda row: progress.update(task, completed=row)


@contextmanager
def _lines(path: Path | None) -> Iterator[TextIO | None]:
    from agents.errors import OperatorError

    if path is None:
        yield None
    elif str(path) == "-":
        yield typer.get_text_stream("stdout")
    else:
        try:
            file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise OperatorError(f"{path}: {error.strerror}") from None
        with file:
            yield file


def _result(run: FileBacktest, found: list[DriftEvent]) -> dict[str, Any]:
    backtest = run.judged
    spec = backtest.spec
    frozen = spec.reference.frozen
    return {
        "model": spec.model,
        "version": spec.version,
        "rows_read": run.read,
        "rows_judged": backtest.rows,
        "rows_left_out": run.left_out,
        "reference_rows": frozen.rows if frozen else 0,
        "first_row_judged": backtest.first_row,
        "notes": run.reader.notes,
        "events": [event.model_dump(mode="json") for event in found],
        "status": [status.model_dump(mode="json") for status in backtest.status()],
    }


def _show(run: FileBacktest, found: list[DriftEvent]) -> None:
    """Print the result for people."""
    from agents.screen import by_incident, incident_block, metrics_table, segments_table, signals_table

    for note in (*run.reader.notes, *(f"left out {n:,} rows: {why}" for why, n in run.left_out.items())):
        err.print(f"[yellow]note[/yellow]  {note}")
    spec = run.judged.spec
    for status in run.judged.status():
        out.print(f"[bold]{spec.model} {spec.version}[/bold] in {status.stage}, after {status.rows:,} rows "
                  f"in {status.steps:,} steps")  # fmt: skip
        out.print(signals_table(status.signals))
        if status.segments:
            out.print()
            out.print(segments_table(status.segments))
        if status.performance:
            out.print(metrics_table(status.performance))
        out.print()
    latest = {status.stage: status for status in run.judged.status()}
    for life in by_incident(found):
        out.print(incident_block(life, latest=latest.get(life[0].stage)))
        out.print()
    if not found:
        out.print("[green]no drift[/green]")
