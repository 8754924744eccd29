"""Structured logs, for people or for machines, ours and those of the libraries in one stream.

Modules log by ``structlog.get_logger(__name__)``: an event in words, and its facts as fields. Faust, mode and aiokafka
use the standard library; what they log passes the same processors, from WARNING on (INFO when we log at DEBUG).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from agents.settings import LogFormat, LogLevel, Settings

HIDDEN: Final = "***"
"""Stands where a secret was."""

_LIBRARIES: Final = ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp")
_SECRET_FIELD: Final = re.compile(r"password|passwd|secret|token|credential|private_key|authorization", re.IGNORECASE)


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (standard error by default).

    Secrets of the settings are struck out wherever they appear: in fields, in messages of libraries, in tracebacks.
    """
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secret_fields,
    ]
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_RENDERERS[settings.log_format](output),
                _StrikeOut(_secrets(settings)),
            ],
        )
    )
    handler.addFilter(_OfLibraries(settings.log_level))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.value)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the libraries in the block, where whatever goes wrong is told in one line of our own."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def hide_secret_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Strike out fields whose name says that they are secret."""
    for name in event:
        if _SECRET_FIELD.search(name):
            event[name] = HIDDEN
    return event


class _OfLibraries(logging.Filter):
    """Lets pass what is ours, and of what libraries log only the worse.

    Their loggers cannot be told by name: Faust logs under the module in which one of its classes is subclassed.
    """

    def __init__(self, level: LogLevel) -> None:
        super().__init__()
        self._least = logging.INFO if level is LogLevel.DEBUG else logging.WARNING

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is written; those of structlog carry a dict."""
        return isinstance(record.msg, dict) or record.levelno >= self._least


class _StrikeOut:
    """The last processor: strikes secrets out of the line as it would be written.

    Parameters
    ----------
    secrets
        As plain text; they are found as they stand and as JSON would escape them.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        forms = {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, line: Any) -> str:
        text = str(line)
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text


def _secrets(settings: Settings) -> list[str]:
    fields = (settings.sasl_password, settings.tls_key_password)
    return [value for field in fields if field is not None and (value := field.get_secret_value())]


def _for_people(output: TextIO) -> list[Processor]:
    colours = output.isatty()
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain, pad_event_to=40)]


def _for_machines(_output: TextIO) -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str),
    ]


_RENDERERS: Final = {LogFormat.CONSOLE: _for_people, LogFormat.JSON: _for_machines}
