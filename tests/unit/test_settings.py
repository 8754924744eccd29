"""Settings: what they accept, and how they say what is wrong."""

from __future__ import annotations

import ssl

import pytest

from agents.errors import SettingsError
from agents.settings import Settings, load_settings

HORSE = "correct-horse-battery"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"DRIFTLINE_{field.upper()}", raising=False)


def complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """The error for these variables."""
    for name, value in environment.items():
        monkeypatch.setenv(f"DRIFTLINE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None
    return message


def test_without_any_variable_the_worker_speaks_plaintext_to_this_machine() -> None:
    settings = load_settings()
    assert settings.client_options()["bootstrap_servers"] == ["127.0.0.1:9092"]
    assert settings.client_options()["security_protocol"] == "PLAINTEXT"
    assert "ssl_context" not in settings.client_options()


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PARTITIONS", "many", "DRIFTLINE_PARTITIONS=many: input should be a valid integer"),
        ("PARTITIONS", "0", "DRIFTLINE_PARTITIONS=0: input should be greater than or equal to 1"),
        ("PUBLISH_INTERVAL_S", "-1", "DRIFTLINE_PUBLISH_INTERVAL_S=-1: input should be greater than 0"),
        ("BOOTSTRAP_SERVERS", "kafka", "'kafka' is not host:port (example: kafka-1:9092,kafka-2:9092)"),
        ("SECURITY_PROTOCOL", "TLS", "DRIFTLINE_SECURITY_PROTOCOL=TLS: input should be 'PLAINTEXT', 'SSL'"),
        ("TLS_CA_FILE", "/nowhere.pem", "DRIFTLINE_TLS_CA_FILE=/nowhere.pem: path does not point to a file"),
        ("TOPIC_PREFIX", "a b", "DRIFTLINE_TOPIC_PREFIX=a b: string should match pattern"),
        ("HEARTBEAT_INTERVAL_S", "9", "DRIFTLINE_HEARTBEAT_INTERVAL_S must be at most a third of"),
        ("PARTITION", "3", "DRIFTLINE_PARTITION is not a setting: did you mean DRIFTLINE_PARTITIONS?"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    assert expected in complaint(monkeypatch, **{variable: value})


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = complaint(monkeypatch, PARTITIONS="x", WEB_PORT="y")
    assert "DRIFTLINE_PARTITIONS" in message
    assert "DRIFTLINE_WEB_PORT" in message


def test_sasl_without_a_password_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    message = complaint(monkeypatch, SECURITY_PROTOCOL="SASL_SSL", SASL_USERNAME="user")
    assert message == "DRIFTLINE_SECURITY_PROTOCOL is SASL_SSL: set DRIFTLINE_SASL_USERNAME and DRIFTLINE_SASL_PASSWORD"


def test_a_password_shows_nowhere_but_in_the_options_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_SASL_PASSWORD", HORSE)
    settings = load_settings(security_protocol="SASL_PLAINTEXT", sasl_username="user", sasl_mechanism="PLAIN")
    assert HORSE not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.client_options()["sasl_plain_password"] == HORSE
    assert settings.client_options()["sasl_mechanism"] == "PLAIN"


def test_a_password_does_not_show_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HORSE not in complaint(monkeypatch, SASL_PASSWORD=HORSE, SECURITY_PROTOCOL="SASL_SSL")
    assert HORSE not in complaint(monkeypatch, SASL_PASSWORD=HORSE, PARTITIONS="x")


def test_tls_trusts_the_system_and_checks_the_host_unless_told_otherwise() -> None:
    strict = Settings(security_protocol="SSL").client_options()["ssl_context"]
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    lenient = Settings(security_protocol="SSL", tls_check_hostname=False).client_options()["ssl_context"]
    assert (lenient.check_hostname, lenient.verify_mode) == (False, ssl.CERT_REQUIRED)


def test_an_option_of_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_PARTITIONS", "3")
    assert load_settings(partitions=9).partitions == 9


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_PARTITIONS", "")
    assert load_settings().partitions == Settings().partitions


def test_a_topic_is_named_with_the_prefix() -> None:
    assert Settings(topic_prefix="fraud.").topic("features") == "fraud.features"
