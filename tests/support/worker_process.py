"""A worker with one agent as a process of its own, for tests that signal or kill it.

``python -m tests.support.worker_process TOPIC [crash]``: settings from the environment. It counts the records of the
topic and commits when it is told to stop; with ``crash`` the agent raises at the first run.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from faust.types import TP

from agents.app import DriftlineApp, create_app, running
from agents.settings import load_settings


async def work(topic: str, mode: str) -> None:
    app = create_app(load_settings(), run_topics=[topic])
    next_offsets: dict[TP, int] = {}

    async def count(runs: object) -> None:
        async for event in runs.events():  # type: ignore[attr-defined]
            if mode == "crash":
                raise ValueError("the agent has a fault")
            next_offsets[event.message.tp] = event.value.next_offset
            sys.stdout.write(f"{sum(next_offsets.values())}\n")
            sys.stdout.flush()

    app.agent(app.input_topic(topic), name="count")(count)

    @app.on_before_shutdown.connect
    async def commit(app: DriftlineApp, **_: object) -> None:
        await app.consumer.commit_offsets(next_offsets, app.consumer_generation_id)

    told_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    async with running(app):
        await told_to_stop.wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
