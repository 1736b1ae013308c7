"""Logging with structlog on top of the standard library, one line per event.

JSON lines have every field. Console lines are short: local time, level, event and fields.
Local variables are never rendered: they may hold secrets.
"""

import logging
import sys
from contextvars import ContextVar

# structlog imports rich if it can, only for tracebacks with local variables. Without rich a start
# needs 5 MB of memory less, and the renderer below has its own tracebacks.
_HAS_RICH = "rich" in sys.modules
if not _HAS_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]  # the import fails
import structlog  # noqa: E402

if not _HAS_RICH:
    del sys.modules["rich"]

# Set for every request. Setting a context variable of structlog takes ten times as long.
REQUEST_ID: ContextVar[str] = ContextVar("request_id")


def configure(level: int, format_: str) -> None:
    """Send the events of every logger to standard error, as JSON if `format_` is `json`."""
    shared: list[structlog.types.Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
    ]
    if format_ == "json":
        shared.append(structlog.stdlib.add_logger_name)
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    else:
        shared.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(format_),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Our own runner logs the migrations.
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))


def _renderers(format_: str) -> list[structlog.types.Processor]:
    if format_ == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        _shorten_request,
        structlog.dev.ConsoleRenderer(
            pad_event_to=0,
            pad_level=False,
            colors=sys.stderr.isatty(),
            # The default renderer prints local variables when rich is installed.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _shorten_request(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write the log line of a request in at most 100 characters."""
    if event["event"] == "request" and "route" in event:
        event["event"] = "{method} {route} {status} {milliseconds:.0f} ms".format_map(event)
        for field in event.keys() - {"timestamp", "level", "event"}:
            del event[field]
    return event


def _add_request_id(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    request_id = REQUEST_ID.get(None)
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def logger(name: str) -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger(name)
