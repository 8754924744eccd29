"""What the brokers for tests and the demo say when they cannot run."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

import agents.broker
from agents.broker import HOST, EmbeddedBroker, accepts_connections, free_port
from agents.errors import BrokerError
from tests.support.kafka import ApacheKafka, KafkaUnavailableError


def test_without_its_package_the_embedded_broker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents.broker, "find_spec", lambda _: None)
    with pytest.raises(BrokerError, match=r"pip install 'driftline\[local\]'"):
        EmbeddedBroker().start()


@pytest.mark.integration
@pytest.mark.skipif(importlib.util.find_spec("noida_db") is None, reason="the extra `local` is not installed")
def test_a_port_in_use_is_named(embedded_broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match=f"port {embedded_broker.port} is in use"):
        EmbeddedBroker(embedded_broker.port).start()


def test_a_free_port_can_be_listened_on_and_no_outgoing_connection_is_given_it() -> None:
    first_outgoing = 32_768  # on Linux; higher elsewhere
    for port in (free_port() for _ in range(20)):
        assert 1_024 < port < first_outgoing
        with socket.create_server((HOST, port)):
            assert accepts_connections(port)


def test_without_java_apache_kafka_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        KafkaUnavailableError, match=r"^java is not installed \(Apache Kafka needs Java 17 and Maven\)$"
    ):
        ApacheKafka().start()
