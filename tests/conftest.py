"""Brokers for the tests: one embedded and one Apache Kafka for a process, both started only when a test asks.

`make test` runs several processes side by side (pytest-xdist): most of what a test on a broker does is wait. Each
process has brokers of its own, so that no test finds another one at work on its broker, and one may freeze it. The
tests of a file stay in one process, with what they share.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from agents.broker import EmbeddedBroker
from agents.settings import Settings
from tests.faults.rig import Rig, running_rig
from tests.support.kafka import ApacheKafka, KafkaUnavailableError, require_programs

REQUIRE_KAFKA = "DRIFTLINE_REQUIRE_KAFKA"
"""Set to 1 where a skipped Apache Kafka part must be a failure (CI)."""
_left_out = pytest.StashKey[str]()
_LEFT_OUT = "left_out"
"""Under this name a process tells the one that prints the summary."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests on Apache Kafka where Java or Maven is missing; where it is required, they will fail."""
    wanted = [item for item in items if item.get_closest_marker("kafka")]
    if not wanted or os.environ.get(REQUIRE_KAFKA) == "1":
        return
    try:
        require_programs()
    except KafkaUnavailableError as error:
        config.stash[_left_out] = f"{len(wanted)} tests on Apache Kafka were left out: {error}"
        config.hook.pytest_deselected(items=wanted)
        items[:] = [item for item in items if item not in wanted]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (message := session.config.stash.get(_left_out, None)) and hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_LEFT_OUT] = message


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if message := getattr(node, "workeroutput", {}).get(_LEFT_OUT):
        node.config.stash[_left_out] = message


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if message := config.stash.get(_left_out, None):
        terminalreporter.write_line(message, yellow=True)


@pytest.fixture(autouse=True)
def _logging_as_it_comes() -> None:
    """Commands that run in the process of the tests, also in fixtures of whole files, silence the log for good."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    with _or_left_out(), ApacheKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Apache Kafka of the fault trials' own: a node that is killed comes back the later, the more topics it has."""
    with _or_left_out(), running_rig() as running:
        yield running


@contextmanager
def _or_left_out() -> Iterator[None]:
    try:
        yield
    except KafkaUnavailableError as error:
        if os.environ.get(REQUIRE_KAFKA) == "1":
            pytest.fail(f"{REQUIRE_KAFKA} is 1, but: {error}")
        pytest.skip(f"the Apache Kafka part is left out: {error}")


@pytest.fixture(
    params=[
        pytest.param("embedded_broker", id="embedded", marks=pytest.mark.integration),
        pytest.param("apache_kafka", id="apache", marks=[pytest.mark.integration, pytest.mark.kafka]),
    ]
)
def broker(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of each broker in turn."""
    running: EmbeddedBroker | ApacheKafka = request.getfixturevalue(request.param)
    return running.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """Topics of a test of its own, so that tests share brokers and nothing else."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def settings(broker: str, topic_prefix: str, tmp_path: Path) -> Settings:
    """Settings for a worker on the test's broker, with a group of its own and timeouts that keep tests short."""
    return Settings(
        bootstrap_servers=broker,
        topic_prefix=topic_prefix,
        group=f"{topic_prefix}worker",
        partitions=2,
        session_timeout_s=6.0,
        heartbeat_interval_s=0.5,
        state_dir=tmp_path / "state",
    )
