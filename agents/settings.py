"""Settings of the worker, read from environment variables named ``DRIFTLINE_...``."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from agents.errors import SettingsError

PREFIX: Final = "DRIFTLINE_"
_MIB: Final = 1_048_576


class SecurityProtocol(StrEnum):
    """How the connection to the broker is protected, in Kafka's own words."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.endswith("SSL")

    @property
    def is_authenticated(self) -> bool:
        """Whether a user name and a password are sent."""
        return self.startswith("SASL")


class SaslMechanism(StrEnum):
    """How the password is sent."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class IsolationLevel(StrEnum):
    """Whether records of transactions that were aborted count as input."""

    READ_COMMITTED = "read_committed"
    READ_UNCOMMITTED = "read_uncommitted"


class LogFormat(StrEnum):
    """Lines for people or for machines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe message that is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Settings(BaseSettings):
    """All settings. Each field is the environment variable ``DRIFTLINE_<FIELD>``; secrets never show in a repr."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    # Kafka: where, and as whom

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to ask first: ``host:port``, several separated by commas."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    sasl_username: str | None = None
    """User name, for the two SASL protocols."""
    sasl_password: SecretStr | None = None
    """Password, for the two SASL protocols."""
    tls_ca_file: FilePath | None = None
    """Certificates to trust (PEM); unset: those of the system."""
    tls_cert_file: FilePath | None = None
    """The worker's own certificate (PEM), where the broker asks for one."""
    tls_key_file: FilePath | None = None
    """The private key of that certificate (PEM)."""
    tls_key_password: SecretStr | None = None
    """Password of the private key."""
    tls_check_hostname: bool = True
    """Whether the broker's certificate must name its host."""

    # Kafka: topics and group

    topic_prefix: str = Field(default="driftline.", max_length=100, pattern=r"^[A-Za-z0-9._-]*$")
    """Put before the name of every topic."""
    group: str = Field(default="driftline", min_length=1)
    """Consumer group. Workers with the same group share the partitions."""
    group_instance_id: str | None = None
    """A stable name of this worker within its group: a restart within the session timeout then moves no partition."""
    partitions: int = Field(default=6, ge=1, le=10_000)
    """Partitions of topics that driftline creates; at most so many workers can share the load."""
    replication_factor: int = Field(default=-1, ge=-1)
    """Copies of topics that driftline creates; -1: as the broker's own default says."""
    isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED
    """read_committed leaves out records of aborted transactions; read_uncommitted counts them."""
    session_timeout_s: float = Field(default=10.0, gt=0)
    """A worker that is silent for so long loses its partitions to the others."""
    heartbeat_interval_s: float = Field(default=3.0, gt=0)
    """How often a worker says that it is alive; at most a third of the session timeout."""
    request_timeout_s: float = Field(default=30.0, gt=0)
    """How long to wait for a broker's answer or acknowledgement before the worker gives up and exits."""

    # Kafka: sizes

    fetch_bytes_per_partition: int = Field(default=_MIB, ge=1024)
    """Asked of one partition in one fetch. A larger single record still passes."""
    fetch_max_wait_ms: int = Field(default=250, ge=1)
    """How long the broker may hold a fetch that finds nothing new. New records end the wait at once."""
    run_max_records: int = Field(default=2_000, ge=1)
    """Records handed to an agent at a time: it works on so many before other tasks get a turn."""
    buffered_runs: int = Field(default=64, ge=2)
    """Runs that may wait before an agent; fetching pauses at 80 %."""
    max_record_bytes: int = Field(default=_MIB, ge=1024)
    """Input records larger than this become dead letters."""
    max_request_bytes: int = Field(default=16 * _MIB, ge=4 * _MIB)
    """The largest record that the worker may produce; the topics have limits of their own below it."""

    # The worker's rhythm

    publish_interval_s: float = Field(default=1.0, gt=0)
    """How often changed totals are published and offsets committed."""
    publish_every_rows: int | None = Field(default=None, ge=1)
    """Publish after so many rows of a partition instead of by the clock: cuts the steps at reproducible offsets."""
    save_interval_s: float = Field(default=2.0, gt=0)
    """How often changed verdict states are saved, at most."""
    auto_register: bool = False
    """Whether an unknown model gets a baseline by itself, from its first rows."""
    baseline_rows: int = Field(default=2_000, ge=100)
    """Rows of the stream that make the baseline of a model registered without a training file."""

    # Bad input

    dead_letters_per_s: float = Field(default=100.0, gt=0)
    """Dead letters written each second, at most; the rest are only counted."""
    dead_letter_timeout_s: float = Field(default=5.0, gt=0)
    """How long a dead-letter topic that refuses writes may delay the worker; then the letter is counted as dropped."""

    # Labels

    state_dir: Path | None = None
    """Folder for predictions that wait for their labels; unset: `driftline` in the user's folder for states
    (~/.local/state). It is a cache: what is lost is read again from the topic `joins`."""

    # The worker's surroundings

    web_host: str = "127.0.0.1"
    """Address of ``/healthz``, ``/readyz`` and ``/metrics``; 0.0.0.0 in a container."""
    web_port: int = Field(default=8910, ge=0, le=65_535)
    """Port of the same; 0: any free one."""
    log_level: LogLevel = LogLevel.INFO
    """DEBUG, INFO, WARNING or ERROR."""
    log_format: LogFormat = LogFormat.CONSOLE
    """console for people, json for machines."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_hosts_and_ports(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",") if server.strip()]
        for server in servers:
            host, colon, port = server.rpartition(":")
            if not (host and colon and port.isdecimal() and 0 < int(port) < 65_536):
                raise ValueError(f"{server!r} is not host:port (example: kafka-1:9092,kafka-2:9092)")
        if not servers:
            raise ValueError("name at least one host:port")
        return ",".join(servers)

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.security_protocol.is_authenticated and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"{PREFIX}SECURITY_PROTOCOL is {self.security_protocol}: "
                f"set {PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD"
            )
        if self.tls_key_file and not self.tls_cert_file:
            raise ValueError(f"{PREFIX}TLS_KEY_FILE is set: set {PREFIX}TLS_CERT_FILE too")
        if self.heartbeat_interval_s * 3 > self.session_timeout_s:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_INTERVAL_S must be at most a third of {PREFIX}SESSION_TIMEOUT_S "
                f"({self.heartbeat_interval_s:g} and {self.session_timeout_s:g})"
            )
        return self

    @property
    def servers(self) -> list[str]:
        """The brokers to ask first, one ``host:port`` each."""
        return self.bootstrap_servers.split(",")

    def topic(self, name: str) -> str:
        """Name on the broker of the topic that the table calls ``name``."""
        return self.topic_prefix + name

    @property
    def state_folder(self) -> Path:
        """The folder that `state_dir` names, or its default."""
        if self.state_dir is not None:
            return self.state_dir
        base = os.environ.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "driftline"

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments with which every aiokafka client reaches the broker. Holds the password in the clear."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "client_id": "driftline",
            "security_protocol": self.security_protocol.value,
            "request_timeout_ms": int(self.request_timeout_s * 1_000),
        }
        if self.security_protocol.is_encrypted:
            options["ssl_context"] = self._tls_context()
        if self.security_protocol.is_authenticated and self.sasl_password is not None:
            options["sasl_mechanism"] = self.sasl_mechanism.value
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return options

    def _tls_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
            if self.tls_cert_file:
                password = self.tls_key_password.get_secret_value() if self.tls_key_password else None
                context.load_cert_chain(self.tls_cert_file, self.tls_key_file, password)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"the TLS files of {PREFIX}TLS_... cannot be used: {error}") from None
        context.check_hostname = self.tls_check_hostname
        return context


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Parameters
    ----------
    overrides
        Fields that come from elsewhere (options of the command line) and win over the environment.

    Raises
    ------
    SettingsError
        With one line that names the variable, what is wrong and what would be right.
    """
    _refuse_misspelt(os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(detail) for detail in error.errors(include_url=False))) from None


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Raise for a name that is nearly a setting: it would be ignored in silence."""
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and (near := get_close_matches(name, known, 1, 0.88)):
            raise SettingsError(f"{name} is not a setting: did you mean {near[0]}?")


def _explain(detail: ErrorDetails) -> str:
    """One line for one error of pydantic, without the value, which may be a secret."""
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    field = str(detail["loc"][0])
    if field not in Settings.model_fields:
        return f"{field} is not a setting"
    shown = ""
    if "Secret" not in str(Settings.model_fields[field].annotation):
        shown = f"={detail.get('input')}"
    help_text = (Settings.model_fields[field].description or "").replace("``", "")
    return f"{PREFIX}{field.upper()}{shown}: {message[:1].lower()}{message[1:]} ({help_text.rstrip('.')})"
