import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from agents.logs import configure_logs, quiet_libraries
from agents.settings import LogFormat, LogLevel, Settings

PASSWORD = 'pa"ss wörd'  # noqa: S105


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(
    log_format: LogFormat = LogFormat.JSON, level: LogLevel = LogLevel.INFO, **fields: object
) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(Settings(log_format=log_format, log_level=level, **fields), stream)  # type: ignore[arg-type]
    return stream


def with_password(log_format: LogFormat) -> io.StringIO:
    return configured(log_format, security_protocol="SASL_PLAINTEXT", sasl_username="driftline", sasl_password=PASSWORD)


def test_json_logs_have_one_object_a_line_with_time_level_logger_message_and_fields():
    stream = configured()
    structlog.get_logger("agents.verdicts").info("incident opened", model="fraud", rows=32)
    line = json.loads(stream.getvalue())
    assert line["message"] == "incident opened"
    assert (line["level"], line["logger"], line["model"], line["rows"]) == ("info", "agents.verdicts", "fraud", 32)
    assert line["timestamp"].endswith("Z")


def test_console_logs_are_lines_for_people_without_colours_where_nobody_sees_them():
    stream = configured(LogFormat.CONSOLE)
    structlog.get_logger("agents.worker").info("worker is ready", port=8910)
    assert "worker is ready" in stream.getvalue()
    assert "port=8910" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_library_that_logs_with_the_standard_library_comes_out_in_the_same_form(log_format: LogFormat):
    stream = configured(log_format)
    logging.getLogger("aiokafka.conn").error("no answer from %s:%d", "kafka-1", 9092)
    assert "no answer from kafka-1:9092" in stream.getvalue()
    if log_format is LogFormat.JSON:
        assert json.loads(stream.getvalue())["logger"] == "aiokafka.conn"


def test_libraries_speak_from_warnings_on_and_ours_from_info_on():
    stream = configured()
    logging.getLogger("faust.app").info("chatter")
    structlog.get_logger("agents.worker").debug("detail")
    structlog.get_logger("agents.worker").info("news")
    logging.getLogger("faust.app").warning("trouble")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["news", "trouble"]


def test_a_library_that_logs_under_a_name_of_ours_is_known_for_one():
    stream = configured()
    logging.getLogger("agents.app").info("[^-Something]: Starting...")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("log_format", LogFormat)
def test_libraries_can_be_silenced_for_a_while(log_format: LogFormat):
    stream = configured(log_format)
    with quiet_libraries():
        logging.getLogger("aiokafka").error("no answer")
    logging.getLogger("aiokafka").error("still none")
    assert "no answer" not in stream.getvalue()
    assert "still none" in stream.getvalue()


def test_errors_only_means_that_libraries_are_held_to_errors_too():
    stream = configured(level=LogLevel.ERROR)
    logging.getLogger("aiokafka.conn").warning("slow")
    assert stream.getvalue() == ""


def test_a_traceback_stays_on_the_json_line():
    stream = configured()
    try:
        raise ValueError("bad bin")
    except ValueError:
        structlog.get_logger("agents.verdicts").exception("cannot judge")
    line = json.loads(stream.getvalue())
    assert "ValueError: bad bin" in line["exception"]


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_password_is_struck_out_of_messages_fields_and_tracebacks(log_format: LogFormat):
    stream = with_password(log_format)
    structlog.get_logger("agents.worker").info(f"connecting with {PASSWORD}", options={"auth": PASSWORD})
    logging.getLogger("aiokafka").error("refused: %r", PASSWORD)
    try:
        raise RuntimeError(f"login failed: {PASSWORD}")
    except RuntimeError:
        structlog.get_logger("agents.worker").exception("stopped")
    text = stream.getvalue()
    assert text.count("***") >= 4
    assert PASSWORD not in text
    assert json.dumps(PASSWORD)[1:-1] not in text
    assert "wörd" not in text


def test_a_field_that_is_secret_by_its_name_is_struck_out():
    stream = configured()
    structlog.get_logger("agents.worker").info("connecting", sasl_password="hunter2", api_token="t0k3n")  # noqa: S106
    line = json.loads(stream.getvalue())
    assert (line["sasl_password"], line["api_token"]) == ("***", "***")
