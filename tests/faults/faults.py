"""The faults, by name: what is done to a deployment while events flow through it."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from agents.dead_letters import Outcome
from agents.failpoints import Place
from agents.topics import admin
from schemas.topics import TOPICS
from tests.faults.producing import Habits
from tests.faults.proxy import Manner
from tests.faults.rig import PRODUCERS_DETOUR, WORKERS_DETOUR
from tests.faults.trial import HOUR_S, Trial
from tests.faults.trying import Fault
from tests.support.worker import until

SESSIONS: Final = 2.5
"""For so many session timeouts a worker is frozen."""
OUTAGE_S: Final = 6.0
LETTERS: Final = "driftline_dead_letters_total"


async def nothing(_: Trial) -> None:
    """An undisturbed run: what the others are compared with."""


async def kill(trial: Trial) -> None:
    """SIGKILL of the only worker; its supervisor starts it again."""
    await _kill(trial, times=1)


async def kill_again_and_again(trial: Trial) -> None:
    """Ten times, at moments that have nothing to do with what the worker does."""
    await _kill(trial, times=10)


async def _kill(trial: Trial, times: int) -> None:
    (worker,) = trial.workers.all
    for time_ in range(1, times + 1):
        worker.process.kill()
        await trial.workers.until_ended(worker, time_)
        if time_ < times:
            await asyncio.sleep(0.7 + 0.61 * time_ % 1.9)
    await trial.check_commits()


async def killed_by_failpoint(trial: Trial) -> None:
    """The worker ends by itself at the step that its failpoint names."""
    (worker,) = trial.workers.all
    await trial.workers.until_ended(worker)
    if worker.exit_codes[0] != -signal.SIGKILL:
        trial.problems.append(f"the worker did not end at the failpoint but with exit code {worker.exit_codes[0]}")
    await trial.check_commits()


async def zombie(trial: Trial) -> None:
    """One of two workers stands still until its partitions have moved, and then goes on as if nothing had been."""
    frozen = trial.workers.all[0]
    frozen.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(SESSIONS * trial.settings.session_timeout_s)
    await trial.until_counted(await trial.ends("predictions"))  # the other one has taken over
    frozen.process.send_signal(signal.SIGCONT)


async def frozen_before_publishing(trial: Trial) -> None:
    """A worker freezes with totals taken from its books, and sends them when they are another's."""
    await trial.workers.until_ready(trial.workers.all[1])
    await asyncio.sleep(SESSIONS * trial.settings.session_timeout_s)
    await trial.until_counted(await trial.ends("predictions"))
    trial.workers.all[0].process.send_signal(signal.SIGCONT)


async def scale(trial: Trial) -> None:
    """From one worker to three and back to one."""
    more = [await trial.workers.start() for _ in range(2)]
    for worker in more:
        await trial.workers.until_ready(worker)
    await asyncio.sleep(1.0)
    for worker in (trial.workers.all[0], more[0]):
        if (code := await trial.workers.stop(worker)) != 0:
            trial.problems.append(f"worker {worker.number} ended with exit code {code}")
    await trial.workers.until_ready(more[1])


async def rolling_restart(trial: Trial) -> None:
    """Each of two workers is replaced by a new one."""
    for old in list(trial.workers.all):
        await trial.workers.until_ready(await trial.workers.start())
        if (code := await trial.workers.stop(old)) != 0:
            trial.problems.append(f"worker {old.number} ended with exit code {code}")


async def broker_killed(trial: Trial) -> None:
    """SIGKILL of the broker, which comes back on what its disk holds."""
    trial.broker.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(trial.broker.resume)


async def broker_away(trial: Trial) -> None:
    """Workers cannot connect to the broker; producers can."""
    await _through(trial, WORKERS_DETOUR, Manner.REFUSE, trial.scale.away_s)


async def broker_silent(trial: Trial) -> None:
    """The network swallows what workers and broker say to each other, for longer than the session timeout."""
    await _through(trial, WORKERS_DETOUR, Manner.BLACKHOLE)


async def connections_reset(trial: Trial) -> None:
    """All connections of the workers break, five times."""
    for _ in range(5):
        trial.proxies[WORKERS_DETOUR].reset()
        await asyncio.sleep(0.7)


async def broker_slow(trial: Trial) -> None:
    """Each answer and each request is a third of a second late."""
    await _through(trial, WORKERS_DETOUR, Manner.DELAY)


async def broker_throttled(trial: Trial) -> None:
    """A line of 20 kB/s between workers and broker."""
    await _through(trial, WORKERS_DETOUR, Manner.THROTTLE)


async def producers_cut_off(trial: Trial) -> None:
    """Producers cannot reach the broker; workers can, and have nothing to do."""
    await _through(trial, PRODUCERS_DETOUR, Manner.BLACKHOLE)


async def _through(trial: Trial, detour: str, manner: Manner, seconds: float = OUTAGE_S) -> None:
    trial.proxies[detour].behave(manner)
    await asyncio.sleep(seconds)
    trial.proxies[detour].behave(Manner.PASS)


async def retention(trial: Trial) -> None:
    """While no worker runs, the broker removes records that nobody has counted; the loss is told, to the offset."""
    (worker,) = trial.workers.all
    await trial.workers.stop(worker)
    committed = await trial.commits()
    sent = trial.producer.acknowledged
    await trial.producer.until(sent + 1_000)
    await trial.oracle.look()
    topic = trial.settings.topic("predictions")
    cut = {at: offset + 150 for at, offset in committed.items() if at[0] == topic}
    async with admin(trial.settings) as client:
        await client.delete_records({TopicPartition(*at): RecordsToDelete(before_offset=to) for at, to in cut.items()})
    await trial.workers.until_ready(await trial.workers.start())
    await trial.until_counted(await trial.ends("predictions"))
    told = {
        (total.topic, total.partition, gap.from_offset, gap.to_offset)
        for total in await trial.oracle.published()
        for gap in total.uncounted
    }
    expected = {(*at, committed[at], to) for at, to in cut.items()}
    assert expected
    if told != expected:
        trial.problems.append(f"retention took {sorted(expected)}, and the totals tell of {sorted(told)}")
    trial.notes.append(f"{sum(to - start for *_, start, to in expected)} offsets were removed, and named")


async def dead_letters_refused(trial: Trial) -> None:
    """The topic of dead letters refuses every letter for a while, as one that is full."""
    await _let_letters_have(trial, 100)
    await _until_letters(trial, Outcome.DROPPED)
    await asyncio.sleep(OUTAGE_S / 2)
    await _let_letters_have(trial, TOPICS["dead-letters"].max_message_bytes)
    await _until_letters(trial, Outcome.DELIVERED)
    trial.at_the_end.append(each_letter_is_accounted_for)


async def dead_letters_gone(trial: Trial) -> None:
    """The topic of dead letters is deleted, and nobody makes it again."""
    async with admin(trial.settings) as client:
        await client.delete_topics([trial.settings.topic("dead-letters")])
    await _until_letters(trial, Outcome.DROPPED)
    await asyncio.sleep(OUTAGE_S)
    trial.at_the_end.append(each_letter_is_accounted_for)


async def each_letter_is_accounted_for(trial: Trial) -> None:
    """Delivered, dropped or suppressed: the metric tells of as many as there were bad records."""
    told = 0.0
    for _ in range(50):  # a delivery may wait for its time-out
        told = sum((await _letters(trial)).values())
        if told == trial.oracle.refused:
            break
        await asyncio.sleep(0.2)
    if told != trial.oracle.refused:
        trial.problems.append(f"{trial.oracle.refused} bad records, and the metric tells of {told:g} dead letters")
    letters = ", ".join(f"{count:g} {outcome}" for outcome, count in sorted((await _letters(trial)).items()) if count)
    trial.notes.append(f"dead letters: {letters}")


async def _until_letters(trial: Trial, outcome: Outcome) -> None:
    before = (await _letters(trial))[outcome]
    await until(lambda: _more_letters(trial, outcome, before))


async def _more_letters(trial: Trial, outcome: Outcome, than: float) -> bool:
    return (await _letters(trial))[outcome] > than


async def _letters(trial: Trial) -> dict[str, float]:
    found = dict.fromkeys(Outcome, 0.0)
    for (outcome, _reason), count in (await trial.workers.metric(trial.workers.all[0], LETTERS)).items():
        found[Outcome(outcome)] += count
    return dict(found)


async def _let_letters_have(trial: Trial, bytes_: int) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, trial.settings.topic("dead-letters"),
                              {"max.message.bytes": str(bytes_)})  # fmt: skip
    async with admin(trial.settings) as client:
        await client.alter_configs([resource])


def _at(place: Place, *, times: int = 3, shifts: bool = False) -> Fault:
    return Fault(killed_by_failpoint, failpoint=f"{place}=kill:{times}", shifts=shifts)


FAULTS: Final = {
    "none": Fault(nothing, shifts=True),
    "worker killed": Fault(kill, shifts=True),
    "worker killed ten times": Fault(kill_again_and_again, slow=True),
    "killed with rows counted": _at(Place.COUNTED),
    "killed before publishing": _at(Place.BEFORE_PUBLISH),
    "killed while publishing": _at(Place.SENT, times=4),
    "killed after publishing": _at(Place.PUBLISHED),
    "killed before committing": _at(Place.BEFORE_COMMIT),
    "killed after committing": _at(Place.COMMITTED),
    "killed before forwarding": _at(Place.BEFORE_FORWARD),
    "killed after forwarding": _at(Place.FORWARDED),
    "killed with labels joined": _at(Place.STORED),
    "killed with totals folded": _at(Place.FOLDED, times=8),
    "killed after sending events": _at(Place.EVENTS_SENT, times=1, shifts=True),
    "killed before saving states": _at(Place.BEFORE_SAVE),
    "killed after saving states": _at(Place.STATE_SAVED),
    "killed after committing verdicts": _at(Place.VERDICTS_COMMITTED),
    "worker frozen and back": Fault(zombie, workers=2, slow=True),
    "frozen before publishing": Fault(
        frozen_before_publishing, workers=2, failpoint=f"{Place.BEFORE_PUBLISH}=freeze:3", slow=True
    ),
    "one worker, three, one": Fault(scale),
    "rolling restart": Fault(rolling_restart, workers=2, slow=True),
    "broker killed": Fault(broker_killed, slow=True),
    "broker away": Fault(broker_away, detours=(WORKERS_DETOUR,)),
    "broker silent": Fault(broker_silent, detours=(WORKERS_DETOUR,), slow=True),
    "connections reset": Fault(connections_reset, detours=(WORKERS_DETOUR,)),
    "broker slow": Fault(broker_slow, detours=(WORKERS_DETOUR,)),
    "broker throttled": Fault(broker_throttled, detours=(WORKERS_DETOUR,), slow=True),
    "producers cut off": Fault(producers_cut_off, detours=(PRODUCERS_DETOUR,)),
    "retention under a stopped worker": Fault(retention),
    "clocks hours off": Fault(nothing, clock_s=(-5 * HOUR_S, 4 * HOUR_S)),
    "events ahead of their records": Fault(nothing, habits=Habits(ahead_s=2 * HOUR_S)),
    "duplicates": Fault(kill, habits=Habits(repeat_every=3)),
    "poison in every batch": Fault(kill, habits=Habits(poison=True)),
    "dead letters refused": Fault(dead_letters_refused, habits=Habits(poison=True)),
    "dead letters gone": Fault(
        dead_letters_gone, habits=Habits(poison=True), slow=True, settings={"dead_letter_timeout_s": 1.0}
    ),
}
"""Each with the name that it has in the table."""
