import asyncio
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE

from hypothesis import given
from hypothesis import strategies as st

from agents.loop_guard import LoopGuard
from agents.watchdog import Stalls


def test_a_thing_that_keeps_its_state_has_stood_since_it_was_first_seen_in_it():
    stalls = Stalls()
    assert [stalls.see("partition 0", 17, now) for now in (100.0, 105.0, 110.0)] == [0.0, 5.0, 10.0]


def test_a_thing_that_moves_has_not_stood():
    stalls = Stalls()
    assert [stalls.see("partition 0", state, now) for state, now in ((17, 100.0), (18, 105.0), (18, 106.0))] == [
        0,
        0,
        1,
    ]


def test_a_thing_that_need_not_move_has_not_stood_and_starts_afresh():
    stalls = Stalls()
    seen = [stalls.see("partition 0", state, now) for state, now in ((17, 0.0), (None, 50.0), (17, 60.0), (17, 70.0))]
    assert seen == [0.0, 0.0, 0.0, 10.0]


def test_things_stand_each_by_themselves():
    stalls = Stalls()
    stalls.see("partition 0", 17, 0.0)
    stalls.see("partition 1", 17, 8.0)
    assert (stalls.see("partition 0", 17, 10.0), stalls.see("partition 1", 17, 10.0)) == (10.0, 2.0)


def test_a_thing_that_was_gone_in_between_starts_afresh():
    stalls = Stalls()
    stalls.see("partition 0", 17, 0.0)
    stalls.forget_all_but({"partition 1"})
    assert stalls.see("partition 0", 17, 10.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from([None, 1, 2]), st.floats(0, 10))))
def test_nothing_stands_longer_than_it_was_looked_at(looks: list[tuple[int | None, float]]):
    stalls, now = Stalls(), 0.0
    for state, wait in looks:
        now += wait
        assert 0.0 <= stalls.see("thing", state, now) <= now


async def test_a_loop_that_turns_is_left_alone():
    ended = threading.Event()
    guard = asyncio.create_task(LoopGuard(0.5, ended.set, beat_s=0.05).run())
    await asyncio.sleep(1.0)
    guard.cancel()
    assert not ended.is_set()


async def test_a_loop_that_does_not_turn_any_more_is_ended_from_outside():
    ended = threading.Event()
    guard = asyncio.create_task(LoopGuard(0.2, ended.set, beat_s=0.05).run())
    await asyncio.sleep(0.1)
    time.sleep(1.0)  # noqa: ASYNC251 - this is the fault
    guard.cancel()
    assert ended.is_set()


async def test_a_guard_that_was_called_off_ends_nothing():
    ended = threading.Event()
    guard = asyncio.create_task(LoopGuard(0.2, ended.set, beat_s=0.05).run())
    await asyncio.sleep(0.1)
    guard.cancel()
    await asyncio.wait([guard])
    time.sleep(0.6)  # noqa: ASYNC251
    assert not ended.is_set()


_BEATS_FOR_A_SECOND = """
import asyncio
from agents.loop_guard import LoopGuard

async def main():
    guard = asyncio.create_task(LoopGuard(2.0, beat_s=0.1).run())
    await asyncio.sleep(0.5)
    print("beats", flush=True)
    await asyncio.sleep(1.0)
    guard.cancel()

asyncio.run(main())
"""


async def test_a_process_that_was_stopped_as_a_whole_is_not_ended_when_it_goes_on():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _BEATS_FOR_A_SECOND, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(3.0)
    process.send_signal(signal.SIGCONT)
    assert await process.wait() == 0
