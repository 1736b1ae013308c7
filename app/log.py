"""Logging: structlog in front, the standard library behind, one line an event.

Nothing here renders local variables: a traceback that shows them would show secrets.
"""

import logging
import sys
from contextvars import ContextVar

import structlog

# Of the request that is being answered. structlog has context variables too, which take ten times
# as long to set, and this is set for every request.
REQUEST_ID: ContextVar[str] = ContextVar("request_id")


def configure(level: int, format_: str) -> None:
    """Send every logger of the process, ours and the libraries', to standard error.

    `format_` is `json`, or anything else for lines that people read.
    """
    shared: list[structlog.types.Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
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
    # yoyo says at this level what our own runner says better.
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))


def _renderers(format_: str) -> list[structlog.types.Processor]:
    if format_ == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default renderer prints local variables when rich is installed.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _add_request_id(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    own_id = REQUEST_ID.get(None)
    if own_id is not None:
        event.setdefault("request_id", own_id)
    return event


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    return structlog.stdlib.get_logger(name)
