"""Logging: one line per event, and no local variables in tracebacks, which may be secrets."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import structlog

from app import log
from app.server.routes import ROUTES
from app.settings import LogFormat

# Returns all text written to standard error so far.
Stderr: TypeAlias = Callable[[], str]

NAMES = ("", "yoyo", "asyncio")
# In two halves, since a traceback shows source lines.
HALVES = ("canary", "7f3a")
CANARY = "".join(HALVES)


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """Return the text written to standard error. Restore logging afterwards."""
    loggers = [logging.getLogger(name) for name in NAMES]
    levels = [logger.level for logger in loggers]
    handlers = list(loggers[0].handlers)
    configuration = structlog.get_config()
    written: list[str] = []

    def shown() -> str:
        written.append(capsys.readouterr().err)
        return "".join(written)

    yield shown
    structlog.configure(**configuration)
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.contextvars.clear_contextvars()


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    log.configure(level, log_format)


def fail() -> None:
    password = "".join(HALVES)
    holder = {"password": password}
    raise RuntimeError(f"it has {len(holder)} entry")


def fail_with_a_cause() -> None:
    token = "".join(HALVES)
    try:
        fail()
    except RuntimeError as error:
        raise ValueError(f"of {len(token)}") from error


def test_json_has_one_object_per_line(stderr: Stderr) -> None:
    configure(LogFormat.JSON)

    log.logger("one").info("served", path="/a\nb", status=200, found=object, word="é")
    logging.getLogger("two").warning("text %s", "with\nbreak")

    first, second = (json.loads(line) for line in stderr().splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("served", "info", "one")
    assert (first["path"], first["status"], first["word"]) == ("/a\nb", 200, "é")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"], second["logger"]) == (
        "text with\nbreak",
        "warning",
        "two",
    )


def test_traceback_in_json_stays_in_its_line(stderr: Stderr) -> None:
    configure(LogFormat.JSON)

    try:
        fail_with_a_cause()
    except ValueError:
        log.logger("one").exception("failed")

    (line,) = stderr().splitlines()
    event = json.loads(line)
    assert event["event"] == "failed"
    assert "RuntimeError: it has 1 entry" in event["exception"]
    assert "ValueError: of 10" in event["exception"]


@pytest.mark.parametrize("log_format", list(LogFormat))
@pytest.mark.parametrize("origin", ["ours", "ours_by_value", "library"])
def test_no_traceback_shows_local_variables(
    stderr: Stderr, log_format: LogFormat, origin: str
) -> None:
    """The default renderer shows them if rich is installed, and it is."""
    configure(log_format)

    try:
        fail_with_a_cause()
    except ValueError as error:
        if origin == "ours":
            log.logger("one").exception("failed")
        elif origin == "ours_by_value":
            log.logger("one").error("failed", exc_info=error)
        else:
            logging.getLogger("library").exception("failed")

    assert "fail_with_a_cause" in stderr()
    assert "ValueError: of 10" in stderr()
    assert CANARY not in stderr()


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_exception_group_shows_no_local_variables(stderr: Stderr, log_format: LogFormat) -> None:
    configure(log_format)

    try:
        fail()
    except RuntimeError as error:
        log.logger("one").error("failed", exc_info=ExceptionGroup("several", [error]))

    assert "RuntimeError: it has 1 entry" in stderr()
    assert CANARY not in stderr()


def test_console_has_one_plain_line_per_event(stderr: Stderr) -> None:
    configure(LogFormat.CONSOLE)

    log.logger("one").info("served", status=200)

    (line,) = stderr().splitlines()
    assert "served" in line
    assert "status=200" in line
    assert "\x1b" not in line


def test_console_line_of_a_request_has_at_most_100_characters(stderr: Stderr) -> None:
    configure(LogFormat.CONSOLE)
    route = max((re.sub(r":.*?(?=}/|}$)", "", route.path) for route in ROUTES), key=len)

    log.logger("app.requests").info(
        "request",
        request_id="c" * 128,
        method="OPTIONS",
        route=route,
        status=404,
        milliseconds=30_000.0,
        client="2001:db8:85a3:8d3:1319:8a2e:370:7348",
        bytes=1_048_576,
    )

    (line,) = stderr().splitlines()
    assert f"OPTIONS {route} 404 30000 ms" in line
    assert len(line) <= 100


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_event_below_the_level_is_not_written(stderr: Stderr, log_format: LogFormat) -> None:
    configure(log_format, logging.WARNING)

    log.logger("one").info("quiet")
    logging.getLogger("two").info("quiet")
    log.logger("one").warning("loud")

    assert "quiet" not in stderr()
    assert "loud" in stderr()


def test_verbose_libraries_are_limited(stderr: Stderr) -> None:
    configure(LogFormat.JSON, logging.DEBUG)

    logging.getLogger("yoyo.migrations").info("quiet")
    logging.getLogger("asyncio").debug("quiet")
    logging.getLogger("two").debug("loud")

    assert "quiet" not in stderr()
    assert "loud" in stderr()


def test_request_id_is_in_every_event(stderr: Stderr) -> None:
    configure(LogFormat.JSON)

    token = log.REQUEST_ID.set("r1")
    log.logger("one").info("ours")
    logging.getLogger("two").info("theirs")
    log.REQUEST_ID.reset(token)

    assert [json.loads(line)["request_id"] for line in stderr().splitlines()] == [
        "r1",
        "r1",
    ]


def test_configure_twice_writes_each_event_once(stderr: Stderr) -> None:
    configure(LogFormat.JSON)
    configure(LogFormat.JSON)

    log.logger("one").info("once")

    assert len(stderr().splitlines()) == 1
