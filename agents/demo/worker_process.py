"""The demo's worker: ``driftline worker`` as a process of its own, with nothing but its settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agents.broker import HOST, free_port
from agents.errors import OperatorError
from agents.settings import PREFIX, Settings

PUBLISH_EVERY_ROWS: Final = 200
"""A year passes in a minute: looked at by the clock, a step would hold days."""

RUN_MAX_RECORDS: Final = 50
"""Labels that are joined at once are judged at once: a run that holds days of them would be a single look at all."""

_READY_WITHIN_S: Final = 60.0
_STOPPED_WITHIN_S: Final = 20.0


class WorkerProcess:
    """A worker that lives as long as the ``with`` block.

    Parameters
    ----------
    settings
        Where the broker is, and what the topics are called.
    folder
        For its log and its data.

    Raises
    ------
    OperatorError
        On entering: the worker does not become ready. On leaving: it has ended by itself.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._log = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        port = free_port()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agents.cli", "worker"],
                env=self._environment(port), cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            self._wait_until_ready(self._process, f"http://{HOST}:{port}/readyz")
        except BaseException:
            self._end(self._process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            raise OperatorError(f"the worker has ended by itself: {self._last_words()}") from error
        self._end(process)

    def _environment(self, web_port: int) -> dict[str, str]:
        """The demo's own settings alone: those of the shell may be for another broker."""
        settings = {
            "BOOTSTRAP_SERVERS": self._settings.bootstrap_servers,
            "TOPIC_PREFIX": self._settings.topic_prefix,
            "PARTITIONS": str(self._settings.partitions),
            "PUBLISH_EVERY_ROWS": str(PUBLISH_EVERY_ROWS),
            "RUN_MAX_RECORDS": str(RUN_MAX_RECORDS),
            "WEB_PORT": str(web_port),
            "STATE_DIR": str(self._folder / "state"),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return inherited | {PREFIX + name: value for name, value in settings.items()}

    def _wait_until_ready(self, process: subprocess.Popen[bytes], url: str) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise OperatorError(f"the worker did not become ready: {self._last_words()}")
            time.sleep(0.1)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it has said nothing"


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False
