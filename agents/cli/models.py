"""``driftline models``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from agents.cli import history
from agents.cli.common import BootstrapServers, err, out, reach, run_quietly, settings_for, taught
from schemas.model_spec import FeaturesFrom, ModelSpec, Seasonality, Task
from schemas.outbound import Family
from schemas.performance import Loss

if TYPE_CHECKING:
    from agents.drafts import Draft
    from agents.registry import Registration

_FAULTS = {Family.QUALITY: "faults of the data", Family.SERVICE: "faults of the service"}

app = typer.Typer(no_args_is_help=True, help="Write, register and list model specs.")
app.command("history")(history.history)


@app.command()
@taught
def init(
    *,
    train: Annotated[Path, typer.Option("--from", metavar="TRAIN", help="Rows the model is to be compared with: "
                     "csv, csv.gz or parquet, in the order in which they came.", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="SPEC.yaml", help="Where to write the spec.",
                      show_default="MODEL-VERSION.yaml")] = None,
    model: Annotated[str | None, typer.Option(help="Id of the model.", show_default="the file's name")] = None,
    version: Annotated[str, typer.Option(help="Version of the model; it never changes once it is applied.")] = "1",
    task: Annotated[Task | None, typer.Option(help="What it predicts.", show_default="guessed")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom alarms concern.", show_default=False)] = None,
    seasonality: Annotated[Seasonality, typer.Option(help="Compare each hour of the day or week with its own.")]
    = Seasonality.NONE,
    timezone: Annotated[str, typer.Option(help="Of the seasons: an IANA name.")] = "UTC",
    features_from: Annotated[FeaturesFrom, typer.Option(help="The stream on which features are judged.")]
    = FeaturesFrom.PREDICTIONS,
    exclude: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Not a feature (may be repeated).",
                       show_default=False)] = None,
    time_column: Annotated[str, typer.Option(help="When a row was observed.")] = "time",
    prediction_column: Annotated[str, typer.Option(help="What the model answered: class or number.")] = "prediction",
    score_column: Annotated[str, typer.Option(help="Probability of the positive class.")] = "score",
    label_column: Annotated[str, typer.Option(help="The truth; not a feature.")] = "label",
    outcomes: Annotated[bool, typer.Option("--outcomes", help="Watch the labels, and the loss they show.")] = False,
    loss: Annotated[list[Loss] | None, typer.Option(help="A further loss to watch (may be repeated); labels are then "
                    "watched too.", show_default=False)] = None,
    surrogates: Annotated[bool, typer.Option("--surrogates", help="Let simple models learn beside it, which warn early "
                          "and tell the drifts apart.")] = False,
    quality: Annotated[bool, typer.Option("--quality/--no-quality", help="Watch the data for faults: missing, invalid "
                       "and unseen values, other units, frozen numbers, duplicates and the like.")] = True,
    service: Annotated[bool, typer.Option("--service", help="Watch how the service answers: latency, errors, "
                       "timeouts.")] = False,
    segment: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Break rows down by this column, or by a "
                       "pair of them, as in country+device (may be repeated).", show_default=False)] = None,
    rules: Annotated[Path | None, typer.Option(metavar="RULES.yaml", help="A list of rules: what must be true of each "
                     "row. How often they are broken is measured on the rows.", show_default=False)] = None,
    version_column: Annotated[str, typer.Option(help="Rows of other versions are left out.")] = "version",
    stage_column: Annotated[str, typer.Option(help="production, shadow or canary; not a feature.")] = "stage",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
) -> None:  # fmt: skip
    """
    Write the spec of a model from the rows that it was trained on, or better: from rows that it answered since.

    Types and the task are guessed from the values, bins and their counts are measured. The YAML explains itself: read
    it, edit it, then apply it. Predictions on rows that a model was trained on are too sure of themselves: use
    out-of-sample ones.

    [bold]Examples[/bold]

    $ driftline models init --from train.csv.gz --model churn --version 3 --output churn-3.yaml
    $ driftline models init --from q1.parquet --seasonality daily --timezone Europe/Berlin --time-column created_at
    """
    from agents.drafts import draft_spec, segments_of
    from agents.errors import OperatorError
    from agents.spec_file import read_rules, write_spec
    from detector.budget import reach_of
    from detector.explain import watched_by_family
    from schemas.model_spec import ColumnNames

    name = model or train.name.split(".")[0]
    target = output or Path(f"{name}-{version}.yaml".replace("/", "-"))
    if target.exists() and not force:
        raise OperatorError(f"{target} is there already: choose another --output, or --force to overwrite it")
    columns = ColumnNames(time=time_column, prediction=prediction_column, score=score_column, label=label_column,
                          version=version_column, stage=stage_column)  # fmt: skip
    fields: dict[str, Any] = {"owner": owner, "seasonality": seasonality, "timezone": timezone,
                              "features_from": features_from}  # fmt: skip
    if outcomes or loss:
        fields["outcomes"] = {"losses": tuple(dict.fromkeys(loss or ()))}
    if surrogates:
        fields["surrogates"] = {}
    fields |= {name: {} for name, wanted in {"quality": quality, "service": service}.items() if wanted}
    if segment:
        fields["segments"] = segments_of(segment)
    if rules is not None:
        fields["rules"] = read_rules(rules)
    with err.status(f"reading {train} ...") as status:
        draft = draft_spec(
            train, name, version, columns=columns, exclude=exclude or (), task=task, fields=fields,
            progress=lambda rows: status.update(f"reading {train}: {rows:,} rows"),
        )  # fmt: skip
    try:
        write_spec(target, draft.spec, draft.heading(target))
    except OSError as error:
        raise OperatorError(f"{target}: {error.strerror}") from None
    out.print(_watched(draft))
    if draft.spec.segments is not None:
        out.print(_segments(draft.spec))
    watched = watched_by_family(draft.spec)
    if faults := [f"{watched[family]} rates of {what}" for family, what in _FAULTS.items() if family in watched]:
        out.print(f"and {' and '.join(faults)}")
    for each in reach_of(draft.spec):
        if each.not_judged:
            out.print(f"[yellow]note[/yellow]  {each.signal} cannot be judged: {each.not_judged}")
    for note in draft.notes:
        out.print(f"[yellow]note[/yellow]  {note}")
    out.print(f"\nwrote [bold]{target}[/bold]; read it, edit it, then: driftline models apply {target}")


def _watched(draft: Draft) -> Table:
    """What is watched, and how many independent rows those of the reference are worth."""
    from detector.bins import make_binner
    from detector.rows import signal_types
    from schemas.model_spec import PREDICTION

    spec, frozen = draft.spec, draft.reference
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("signal", overflow="fold")
    table.add_column("type")
    for column in ("bins", "rows", "worth"):
        table.add_column(column, justify="right")
    for signal, kind in zip(spec.signals, signal_types(spec), strict=True):
        is_answer = signal == PREDICTION and spec.prediction is not None
        table.add_row(
            signal.removeprefix("feature:"),
            spec.prediction.output.value if is_answer and spec.prediction else kind.value,
            str(make_binner(frozen.bins[signal]).width),
            f"{frozen.rows:,}",
            f"{frozen.rows / frozen.dispersion[signal]:,.0f}",
        )
    return table


def _segments(spec: ModelSpec) -> Table:
    """By what rows are broken down, and how many of the reference are in each segment."""
    from detector.layout import Layout
    from detector.segments.frozen import segment_vectors

    layout = Layout(spec)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("\nsegment", overflow="fold")
    table.add_column("\nrows", justify="right")
    for name, vector in zip(
        layout.segments.names if layout.segments else (), segment_vectors(spec, layout), strict=True
    ):
        table.add_row(name, f"{layout.step_rows(vector[: layout.segment_width]):,}")
    return table


@app.command()
@taught
def apply(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC.yaml...", help="Specs to register.", show_default=False)],
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """
    Register model versions. The same spec twice does nothing; another spec of a registered version is refused.

    [bold]Example[/bold]

    $ driftline models apply churn-3.yaml
    """
    from agents.registry import Registry
    from agents.settings import Settings
    from agents.spec_file import read_spec
    from agents.topics import ensure_topics
    from schemas.topics import TOPICS

    async def publish(settings: Settings, read: list[ModelSpec]) -> None:
        await ensure_topics(settings, [TOPICS["models"]])
        async with Registry(settings) as registry:
            for spec in read:
                known = registry.lookup(spec.model, spec.version) is not None
                registered = await registry.publish(spec)
                said = "is registered already: nothing to do" if known else "is registered"
                out.print(
                    f"[bold]{spec.model} {spec.version}[/bold] {said} [dim]({registered.declared_hash[:12]})[/dim]"
                )

    read = [read_spec(path) for path in specs]
    run_quietly(publish(settings_for(bootstrap_servers), read))


@app.command()
@taught
def explain(
    path: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="A spec with a reference.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """
    Say how the thresholds follow from the false-alarm budget, and what can be found with them.

    Nothing is sent anywhere: what is told follows from the spec alone.

    [bold]Example[/bold]

    $ driftline models explain churn-3.yaml
    """
    from agents.cli.explained import as_facts, explained
    from agents.errors import OperatorError
    from agents.spec_file import read_spec
    from detector.budget import budget_of, reach_of

    spec = read_spec(path)
    if spec.reference.frozen is None:
        raise OperatorError(f"{path} has no reference yet: driftline models init --from TRAIN makes one")
    budget, reach = budget_of(spec), reach_of(spec)
    if as_json:
        typer.echo(json.dumps(as_facts(budget, reach)))
        return
    for part in explained(spec, budget, reach):
        out.print(part)


@app.command("list")
@taught
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """
    List the registered model versions.

    [bold]Example[/bold]

    $ driftline models list
    """
    from agents.registry import Registry
    from agents.settings import Settings

    async def read(settings: Settings) -> list[Registration]:
        await reach(settings, "models")
        async with Registry(settings) as registry:
            return sorted(registry, key=lambda each: (each.spec.model, each.offset))

    registrations = run_quietly(read(settings_for(bootstrap_servers)))
    if as_json:
        for each in registrations:
            typer.echo(json.dumps(_facts(each)))
        return
    if not registrations:
        out.print("no model is registered yet: driftline models init --from TRAIN.csv makes a spec")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("model", "version", "task", "signals", "segments", "seasons", "reference", "owner", "spec"):
        table.add_column(column, overflow="fold")
    for each in registrations:
        table.add_row(each.spec.model, each.spec.version, each.spec.task.value, str(len(each.spec.signals)),
                      _by(each.spec), each.spec.seasonality.value, _reference(each.spec), each.spec.owner or "",
                      each.declared_hash[:12])  # fmt: skip
    out.print(table)
    for each in registrations:
        if each.refused:
            out.print(f"[yellow]note[/yellow]  {each.spec.model} {each.spec.version}: {len(each.refused)} other "
                      f"spec(s) of this version were refused: {', '.join(h[:12] for h in each.refused)}")  # fmt: skip


def _by(spec: ModelSpec) -> str:
    """By what rows are broken down."""
    from detector.segments.table import SegmentTable

    if spec.segments is None:
        return ""
    table = SegmentTable.of(spec)
    return ", ".join(spec.segments.groups) + (f" ({len(table)})" if table is not None else "")


def _reference(spec: ModelSpec) -> str:
    frozen = spec.reference.frozen
    if frozen is None:
        return f"collecting {spec.reference.rows:,} rows"
    period = f", {frozen.since:%Y-%m-%d} to {frozen.until:%Y-%m-%d}" if frozen.since and frozen.until else ""
    return f"{frozen.rows:,} rows{period}"


def _facts(registration: Registration) -> dict[str, Any]:
    from detector.segments.table import SegmentTable

    spec = registration.spec
    return {
        "model": spec.model,
        "version": spec.version,
        "task": spec.task.value,
        "owner": spec.owner,
        "signals": spec.signals,
        "segments": table.names if (table := SegmentTable.of(spec)) is not None else (),
        "seasonality": spec.seasonality.value,
        "state": "collecting" if spec.reference.frozen is None else "watching",
        "reference_rows": spec.reference.frozen.rows if spec.reference.frozen else spec.reference.rows,
        "spec_hash": spec.hash,
        "declared_hash": registration.declared_hash,
        "refused": registration.refused,
    }
