"""Apache Kafka for tests: one KRaft node run from Maven jars, without Docker.

The jars are fetched once by Maven into the user's cache folder. ``python -m tests.support.kafka [PORT]`` runs a broker
until it is interrupted.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agents.broker import HOST, accepts_connections, free_port

KAFKA: Final = "4.1.0"
LOG4J: Final = "2.24.3"
OLDEST_JAVA: Final = 17
MESSAGE_MAX_BYTES: Final = 20 * 1_048_576
"""Topics of the tests allow records of 16 MiB; the broker's own limit is on batches."""

_READY_WITHIN_S: Final = 60.0

_DEPENDENCIES: Final = (
    ("org.apache.kafka", "kafka_2.13", KAFKA),
    ("org.apache.logging.log4j", "log4j-api", LOG4J),
    ("org.apache.logging.log4j", "log4j-core", LOG4J),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
)

_LOGGING: Final = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class KafkaUnavailableError(Exception):
    """Apache Kafka cannot be run on this machine; the message says in one line why."""


class ApacheKafka:
    """One node of Apache Kafka, fresh at each start.

    Parameters
    ----------
    port
        Port on 127.0.0.1; None: any free one.
    detours
        By a name in capitals, the port of a proxy: whoever asks the broker by the listener of that name (`inner_port`
        says where it is) is sent through the proxy.

    Raises
    ------
    KafkaUnavailableError
        On starting: Java or Maven is missing, the jars cannot be fetched, or the node does not come up.
    """

    def __init__(self, port: int | None = None, detours: Mapping[str, int] | None = None) -> None:
        self.port = free_port() if port is None else port
        self._detours = {name: (free_port(), proxy) for name, proxy in (detours or {}).items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients."""
        return f"{HOST}:{self.port}"

    def inner_port(self, detour: str) -> int:
        """Port of a detour's listener: what its proxy connects to."""
        return self._detours[detour][0]

    @property
    def pid(self) -> int:
        """Process id of the running node, for tests that kill or freeze it."""
        if self._process is None:
            raise RuntimeError("the node was not started")
        return self._process.pid

    def start(self) -> Self:
        """Fetch the jars if need be, format a new log folder and start; return when connections are accepted."""
        classpath = f"{jars()}/*"
        folder = self._folder = Path(tempfile.mkdtemp(prefix="driftline-kafka-"))
        properties = folder / "server.properties"
        properties.write_text(_server_properties(self.port, free_port(), folder / "data", self._detours))
        (folder / "log4j2.properties").write_text(_LOGGING)
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", "-cp", classpath]  # fmt: skip
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        _checked(
            [
                *java,
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                f"--cluster-id={cluster}",
                "-c",
                str(properties),
            ]
        )
        self._command = [*java, "kafka.Kafka", str(properties)]
        self.resume()
        return self

    def resume(self) -> None:
        """Start the node again on the data that it has, after `kill`."""
        assert self._folder is not None
        log = self._folder / "kafka.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder
            )
        deadline = time.monotonic() + _READY_WITHIN_S
        while not accepts_connections(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                last_words = " ".join(log.read_text(errors="replace").strip().splitlines()[-1:])
                self.stop()
                raise KafkaUnavailableError(f"Apache Kafka did not start on port {self.port}: {last_words}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the node at once, as a power cut would; the data stays for `resume`."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End the node and delete its data; not in order, which takes ten seconds and saves what is deleted."""
        self.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def jars() -> Path:
    """Return the folder with the jars of Apache Kafka; let Maven fetch them the first time."""
    require_programs()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftline"
    folder = cache / f"kafka-{KAFKA}-log4j-{LOG4J}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"fetching the jars of Apache Kafka {KAFKA} into {folder} (45 MB, once)\n")
    with tempfile.TemporaryDirectory(dir=cache) as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(_pom())
        _checked(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime",
                  f"-DoutputDirectory={work}/jars"])  # fmt: skip
        try:
            (Path(work) / "jars").rename(folder)
        except OSError:
            if not folder.is_dir():  # unless another process was quicker
                raise
    return folder


def require_programs() -> None:
    """Raise `KafkaUnavailableError` where Java or Maven is missing or too old."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise KafkaUnavailableError(f"{program} is not installed (Apache Kafka needs Java {OLDEST_JAVA} and Maven)")
    banner = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = banner.split('"')[1] if '"' in banner else "0"
    if int(version.split(".")[0]) < OLDEST_JAVA:
        raise KafkaUnavailableError(f"java is version {version}, Apache Kafka needs {OLDEST_JAVA} or later")


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        raise KafkaUnavailableError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {words[0]}")


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        for group, artifact, version in _DEPENDENCIES
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>driftline</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _server_properties(port: int, controller_port: int, data: Path, detours: Mapping[str, tuple[int, int]]) -> str:
    own = {"PLAINTEXT": port, "CONTROLLER": controller_port}
    listeners = _listeners(own | {name: inner for name, (inner, _) in detours.items()})
    return "\n".join(
        f"{name}={value}"
        for name, value in {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller_port}",
            "listeners": listeners,
            "advertised.listeners": _listeners(own | {name: proxy for name, (_, proxy) in detours.items()}),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*own, *detours)),
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "message.max.bytes": MESSAGE_MAX_BYTES,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
            # compaction within a second or two, in a small heap
            "log.cleaner.backoff.ms": 500,
            "log.cleaner.dedupe.buffer.size": 16 * 1_048_576,
        }.items()
    )


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())


def main() -> None:
    """Run a broker until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        with ApacheKafka(port) as kafka:
            sys.stderr.write(f"Apache Kafka {KAFKA} on {kafka.bootstrap_servers}; Ctrl-C stops it\n")
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            signal.pause()
    except KafkaUnavailableError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
