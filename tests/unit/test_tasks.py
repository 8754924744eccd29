"""Ending tasks: a cancellation that is lost on the way is made again."""

from __future__ import annotations

import asyncio

from agents.tasks import end_tasks


class Stubborn:
    """Waits for ever and loses its first ``deaf`` cancellations."""

    def __init__(self, deaf: int) -> None:
        self.cancellations = 0
        self._deaf = deaf

    async def wait(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                if self.cancellations > self._deaf:
                    raise


async def started(stubborn: Stubborn) -> asyncio.Task[None]:
    task = asyncio.create_task(stubborn.wait())
    await asyncio.sleep(0)
    return task


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    stubborn = Stubborn(deaf=1)
    task = await started(stubborn)
    await end_tasks([task])
    assert task.cancelled()
    assert stubborn.cancellations == 2


async def test_a_task_that_cannot_be_ended_is_left_after_the_time_given() -> None:
    stubborn = Stubborn(deaf=1)
    task = await started(stubborn)
    await end_tasks([task], within_s=0.05)
    assert not task.done()
    task.cancel()


async def test_the_errors_of_ended_tasks_stay_in_them() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    failed = asyncio.create_task(fail())
    await asyncio.sleep(0)
    stubborn = await started(Stubborn(deaf=0))
    await end_tasks([failed, stubborn])
    assert isinstance(failed.exception(), ValueError)
    assert stubborn.cancelled()


async def test_ending_no_tasks_takes_no_time() -> None:
    await end_tasks([])
