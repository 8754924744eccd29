"""The embedded broker: one small process that speaks Kafka's protocol, for the demo, development and tests.

It keeps its data in memory and is alone: never for production. What it does otherwise than Apache Kafka:

- it answers a fetch with all that it has, whatever size was asked for, so a large backlog comes in one piece;
- it does not expire a group member that was killed, so the group of a killed worker does not come back until the broker
  is started anew;
- it refuses commits from the moment a member joins, and aiokafka then joins as a new member beside its own ghost: run
  one worker on it.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agents.errors import BrokerError

HOST: Final = "127.0.0.1"
_READY_WITHIN_S: Final = 20.0
_STOPPED_WITHIN_S: Final = 10.0
_PORTS: Final = range(20_000, 32_000)
"""Linux takes ports from 32,768 on for outgoing connections, others from 49,152 on."""
_TRIES: Final = 100


class EmbeddedBroker:
    """A Kafka broker as a child process, fresh at each start, gone at the end of the ``with`` block.

    Parameters
    ----------
    port
        Port on 127.0.0.1; None: any free one.

    Raises
    ------
    BrokerError
        On entering: the extra ``local`` is not installed, the port is taken, or the process does not come up.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients."""
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        """Start, and return when connections are accepted."""
        command = _program()
        if accepts_connections(self.port):
            raise BrokerError(f"port {self.port} is in use: stop what listens there or choose another port")
        self._folder = Path(tempfile.mkdtemp(prefix="driftline-broker-"))
        log = self._folder / "broker.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [command, "start", "--only", "kafka", "--host", HOST, "--kafka-port", str(self.port),
                 "--data-dir", str(self._folder / "data")],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder,
            )  # fmt: skip
        deadline = time.monotonic() + _READY_WITHIN_S
        while not accepts_connections(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                last_words = log.read_text(errors="replace").strip().splitlines()[-1:]
                self.stop()
                raise BrokerError(f"the embedded broker did not start on port {self.port}: {' '.join(last_words)}")
            time.sleep(0.02)
        return self

    def wait(self) -> int:
        """Wait until the process ends by itself; return its exit code."""
        if self._process is None:
            raise RuntimeError("the broker was not started")
        return self._process.wait()

    def stop(self) -> None:
        """End the process and delete what it stored."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """Return a port that nothing listens on at this moment.

    It lies below those that systems take for outgoing connections: such a one may stay on a port for hours, and who was
    promised it, or comes back to it after a crash, could not listen there.
    """
    for port in random.sample(_PORTS, _TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise BrokerError(f"none of {_TRIES} ports between {_PORTS[0]} and {_PORTS[-1]} is free")


def accepts_connections(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def _program() -> str:
    """Path of the broker's program."""
    if find_spec("noida_db") is None:
        raise BrokerError("the embedded broker is not installed: pip install 'driftline[local]'")
    path = Path(str(files("noida_db"))) / ("noida-db.exe" if sys.platform == "win32" else "noida-db")
    if not path.is_file():
        raise BrokerError(f"the package noida-db has no program for this platform ({sys.platform})")
    path.chmod(0o755)
    return str(path)
