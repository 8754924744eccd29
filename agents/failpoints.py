"""Named places at which a test can end or freeze the worker; they do nothing unless the environment says so.

``DRIFTLINE_FAILPOINT=profiling.before_commit=kill`` ends the process, as a power cut would, the first time that it
comes to that place; ``...=kill:3`` the third time. Several are separated by commas. What there is:

==========  ==========================================================================================
action      what happens
==========  ==========================================================================================
``kill``    SIGKILL: nothing is written or closed any more
``freeze``  SIGSTOP: the process stands still, with its connections open, until somebody sends SIGCONT
``raise``   an error, as of a broker that does not acknowledge: the worker crashes in order
``hang``    this step waits for ever, while all others go on; where a step can wait
``block``   the whole event loop stands still
==========  ==========================================================================================

The places are the steps between which a crash leaves something half done (see ``docs/delivery.md``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from agents.errors import DeliveryError, SettingsError

VARIABLE: Final = "DRIFTLINE_FAILPOINT"
HANG: Final = "hang"

log = structlog.get_logger(__name__)


class Place(StrEnum):
    """Where the worker can be made to fail."""

    BEFORE_COUNT = "profiling.before_count"
    """A run has come to its agent; nothing is done with it."""
    COUNTED = "profiling.counted"
    """A run was added to the totals; nothing of it is written."""
    BEFORE_PUBLISH = "profiling.before_publish"
    """Totals were taken from the books; none is sent."""
    PUBLISHED = "profiling.published"
    """The broker has acknowledged totals and what was forwarded; nothing is committed."""
    BEFORE_COMMIT = "profiling.before_commit"
    """The partitions are still ours; the commit is not sent."""
    COMMITTED = "profiling.committed"
    """The commit is acknowledged; records that were replaced are still there."""
    SENT = "producer.sent"
    """Records were handed to the producer; no acknowledgement has come. They may be written or not."""
    BEFORE_FORWARD = "joins.before_forward"
    """Predictions and labels wait to be forwarded to the topic of joins."""
    FORWARDED = "joins.forwarded"
    """They are acknowledged; the offsets that they came from are not committed."""
    STORED = "joins.stored"
    """The store has taken a run of the topic of joins in; its matches are not counted."""
    FOLDED = "verdicts.folded"
    """A total was folded into the judge's state; what was decided is not sent."""
    EVENTS_SENT = "verdicts.events_sent"
    """Drift events are acknowledged; the state that raised them is not saved."""
    BEFORE_SAVE = "verdicts.before_save"
    """States are to be saved; none is sent."""
    STATE_SAVED = "verdicts.state_saved"
    """States are acknowledged; the offsets of ``profiles`` are not committed."""
    VERDICTS_COMMITTED = "verdicts.committed"
    """The commit is acknowledged; the status is not reported."""
    RESPONSES_SENT = "responses.sent"
    """Responses, requests and alerts are acknowledged; the states that decided them are not saved."""
    RESPONSES_SAVED = "responses.saved"
    """These are saved; the offsets of ``response-inputs`` are not committed."""
    BEFORE_ANSWER = "responses.before_answer"
    """Drift events have come; they are not forwarded to be answered."""


HANGING: Final = frozenset(
    {
        Place.BEFORE_COUNT,
        Place.BEFORE_PUBLISH,
        Place.BEFORE_COMMIT,
        Place.BEFORE_FORWARD,
        Place.FOLDED,
        Place.BEFORE_SAVE,
        Place.BEFORE_ANSWER,
    }
)
"""Where a step can wait for ever."""


class InjectedFaultError(DeliveryError):
    """What the action ``raise`` raises."""


class _HangError(Exception):
    """What the action ``hang`` raises, for `failpoint_or_hang` alone."""


@dataclass(slots=True)
class _Trap:
    """What is to happen at a place, and at which time of coming there."""

    act: Callable[[str], None]
    countdown: int


_traps: dict[str, _Trap] = {}
_released = asyncio.Event()
"""Set when failpoints are set anew: what hangs goes on then."""


def failpoint(place: Place) -> None:
    """Fail here, where a test has asked for it."""
    if not _traps or (trap := _traps.get(place)) is None:
        return
    trap.countdown -= 1
    if trap.countdown <= 0:
        del _traps[place]
        trap.act(place)


async def failpoint_or_hang(place: Place) -> None:
    """Fail here, or wait for ever, where a test has asked for it."""
    try:
        failpoint(place)
    except _HangError:
        await _released.wait()


def arm(environment: Mapping[str, str]) -> None:
    """Set the traps that ``DRIFTLINE_FAILPOINT`` names, and remove those that were set before.

    Raises
    ------
    SettingsError
        It names a place or an action that there is not.
    """
    global _released  # noqa: PLW0603 - an event belongs to the loop that first waits for it
    _traps.clear()
    _released.set()
    _released = asyncio.Event()
    for entry in filter(None, environment.get(VARIABLE, "").split(",")):
        place, _, action = entry.strip().partition("=")
        name, _, times = action.partition(":")
        if place not in list(Place):
            raise SettingsError(f"{VARIABLE}: there is no place {place!r}: choose among {', '.join(Place)}")
        if name not in ACTIONS or (times and not (times.isdecimal() and int(times) > 0)):
            raise SettingsError(f"{VARIABLE}: {action!r} is no action: write one of {', '.join(ACTIONS)}, "
                                "or with the number of the time, as in kill:3")  # fmt: skip
        if name == HANG and place not in HANGING:
            raise SettingsError(f"{VARIABLE}: no step can hang at {place}: choose among {', '.join(sorted(HANGING))}")
        _traps[place] = _Trap(ACTIONS[name], int(times or 1))
        log.warning("a failpoint is set: this worker will fail on purpose", place=place, action=action)


def _kill(_place: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _freeze(_place: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(place: str) -> None:
    raise InjectedFaultError(f"the failpoint {place} was reached")


def _hang(place: str) -> None:
    raise _HangError(place)


def _block(_place: str) -> None:
    threading.Event().wait()


ACTIONS: Final[dict[str, Callable[[str], None]]] = {
    "kill": _kill,
    "freeze": _freeze,
    "raise": _raise,
    HANG: _hang,
    "block": _block,
}
"""What can happen at a place."""
