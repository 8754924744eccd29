"""The second copy of a total: the judge of its version holds the last one that it has folded in.

Where a total on ``profiles`` is damaged, counting goes on from that copy, if it has come further than what else is
left. What the judge has of it is exact, and a few seconds old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agents.statelog import Saved, read_back
from agents.verdict_states import state_of
from detector.judge import ModelJudge
from detector.state import StateError
from schemas import codec

if TYPE_CHECKING:
    from agents.registry import Registry
    from agents.settings import Settings
    from schemas.profiles import ProfileTotal

_PARTS_OF_A_TOTAL = 5  # model, version, topic, partition, incarnation

log = structlog.get_logger(__name__)


async def judges_copies(settings: Settings, registry: Registry, saved: Sequence[Saved]) -> list[Saved]:
    """Find the judges' copies of the totals among ``saved`` that are damaged, each under the key of the damaged one.

    Raises
    ------
    BrokerError
        The topic of states cannot be read.
    NewerFormatError
        A newer release has written to it.
    """
    damaged = [record for record in saved if record.damage is not None and _is_total(record)]
    if not damaged:
        return []
    bases = {_version(record) for record in damaged}
    states, _ = await read_back(
        settings, settings.topic("verdicts"), lambda key: key.base in bases, {record.partition for record in damaged}
    )
    return [
        replace(record, value=codec.encode(copy), damage=None)
        for record in damaged
        for state in states
        if state.key.base == _version(record) and (copy := _copy(registry, record, state)) is not None
    ]


def _copy(registry: Registry, record: Saved, state: Saved) -> ProfileTotal | None:
    model, version, topic, partition, *_ = record.key.base.split("/")
    registration = registry.lookup(model, version)
    if registration is None or registration.layout is None:
        return None
    try:
        return ModelJudge.restore(registration.spec, state_of(state)).copy_of(topic, int(partition))
    except (StateError, ValueError, LookupError, TypeError) as error:
        log.warning("a judge's copy of a total cannot be read", key=state.key.base, why=str(error))
        return None


def _is_total(record: Saved) -> bool:
    parts = record.key.base.split("/")
    return len(parts) == _PARTS_OF_A_TOTAL and parts[-1].isdecimal()


def _version(record: Saved) -> str:
    return "/".join(record.key.base.split("/")[:2])
