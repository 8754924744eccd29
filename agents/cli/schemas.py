"""``driftline schemas``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.cli.common import out, taught

app = typer.Typer(no_args_is_help=True, help="JSON Schemas and examples of every event.")


@app.command()
@taught
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.")] = Path("json-schemas"),
) -> None:
    """
    Write the JSON Schema of every event into a folder: for validation, or to generate types in other languages.

    [bold]Example[/bold]

    $ driftline schemas export json-schemas/
    """
    from agents.errors import OperatorError
    from schemas.export import export as write

    try:
        written = write(folder)
    except OSError as error:
        raise OperatorError(f"{folder}: {error.strerror}") from None
    for path in written:
        out.print(str(path), soft_wrap=True)


@app.command()
@taught
def example(event: Annotated[str, typer.Argument(help="Such as PredictionEvent or DriftEvent.")]) -> None:
    """
    Print an example of an event.

    [bold]Example[/bold]

    $ driftline schemas example PredictionEvent
    """
    from schemas.export import EVENTS
    from schemas.export import example as text

    if event not in EVENTS:
        raise typer.BadParameter(f"there is no {event!r}: choose from {', '.join(EVENTS)}", param_hint="EVENT")
    typer.echo(text(event), nl=False)
