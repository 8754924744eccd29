"""Registering a model that nobody registered, from its first rows: what ``DRIFTLINE_AUTO_REGISTER`` turns on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from agents.registry import SpecConflictError
from detector.inference import Answers, infer_spec
from detector.rows import Source
from schemas.model_spec import PREDICTION, FeaturesFrom, ModelSpec, ReferenceSpec
from schemas.quality import QualitySpec

if TYPE_CHECKING:
    from agents.formats.decoded import ModelVersion
    from agents.registry import Registry
    from agents.settings import Settings

ENOUGH_EXAMPLES: Final = 100
"""Rows from which types are guessed."""
PATIENCE_S: Final[dict[Source, float]] = {Source.PREDICTIONS: 5.0, Source.FEATURES: 20.0}
"""After so long fewer rows must do. A stream of features waits for the predictions, which tell more of a model."""
MOST_KEPT: Final = 100
"""Model versions whose examples are kept at a time."""
MOST_HOPELESS: Final = 10_000

_SCORE: Final = "score"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Examples:
    since: float
    rows: list[dict[str, Any]] = field(default_factory=list)


class AutoRegistration:
    """Collects examples of unregistered model versions of one stream and registers what they look like.

    Several workers may do so for the same version at a time; the spec with the lowest offset is in force for all.
    """

    def __init__(
        self, registry: Registry, settings: Settings, source: Source, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._source = source
        self._clock = clock
        self._examples: dict[ModelVersion, _Examples] = {}
        self._hopeless: set[ModelVersion] = set()

    def keep(self, name: ModelVersion, rows: Iterable[dict[str, Any]]) -> None:
        """Keep examples of an unregistered version."""
        if name in self._hopeless or (name not in self._examples and len(self._examples) >= MOST_KEPT):
            return
        kept = self._examples.setdefault(name, _Examples(self._clock())).rows
        kept.extend(rows)
        del kept[ENOUGH_EXAMPLES:]

    async def register(self) -> None:
        """Register the versions of which enough was seen.

        Raises
        ------
        DeliveryError
            A spec was not acknowledged.
        """
        for name, examples in list(self._examples.items()):
            waited = self._clock() - examples.since
            if len(examples.rows) < ENOUGH_EXAMPLES and waited < PATIENCE_S[self._source]:
                continue
            del self._examples[name]
            if self._registry.lookup(*name) is None:
                await self._register(name, examples.rows)

    async def _register(self, name: ModelVersion, rows: list[dict[str, Any]]) -> None:
        try:
            spec, notes = guess(name, rows, self._source, self._settings.baseline_rows)
            await self._registry.publish(spec)
        except SpecConflictError:
            return  # another worker was quicker
        except ValueError as error:
            if len(self._hopeless) < MOST_HOPELESS:
                self._hopeless.add(name)
            log.error("a model cannot be registered by itself", model=name[0], version=name[1], why=str(error))
            return
        log.info(
            "model registered by itself: its next rows make the baseline",
            model=name[0], version=name[1], features=len(spec.features), rows=spec.reference.rows, notes=notes,
        )  # fmt: skip


def guess(
    name: ModelVersion, rows: list[dict[str, Any]], source: Source, baseline_rows: int
) -> tuple[ModelSpec, tuple[str, ...]]:
    """Guess a spec from example rows: values by feature, and under ``prediction`` and ``score`` what was answered.

    Raises
    ------
    ValueError
        If there is nothing to watch.
    """
    answers = Answers()
    if source is Source.PREDICTIONS:
        answers = Answers([row.get(PREDICTION) for row in rows], [row.get(_SCORE) for row in rows])
    reserved = {PREDICTION, _SCORE} if source is Source.PREDICTIONS else set()
    features = dict.fromkeys(key for row in rows for key in row if key not in reserved)
    return infer_spec(
        {feature: [row.get(feature) for row in rows] for feature in features},
        *name,
        answers=answers,
        features_from=FeaturesFrom.FEATURES if source is Source.FEATURES else FeaturesFrom.PREDICTIONS,
        reference=ReferenceSpec(rows=baseline_rows),
        quality=QualitySpec(),
    )
