"""One client span per database statement of a recorded request.

asyncpg reports each statement after its end. A span has the statement's name in `sql/`, and never
its text or its values. Background work has no request, and so no spans.
"""

import time

from asyncpg import PostgresError
from asyncpg.connection import LoggedQuery
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from app.database.client.statements import sql
from app.http.keys import CURRENT_SPAN

_OF_TRANSACTIONS = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"})
_OTHER = "statement"


class StatementSpans:
    """Records the statements that asyncpg reports in the context of a request."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._names: dict[str, str] = {
            getattr(sql, name).sql: name
            for name in sql.available_queries
            # aiosql adds one for each statement.
            if not name.endswith("_cursor")
        }

    def record(self, query: LoggedQuery) -> None:
        request: Span | None = CURRENT_SPAN.get()
        # A task that a request has started may outlive it.
        if request is None or not request.is_recording():
            return
        end = time.time_ns()
        name = self._name(query.query)
        attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "db.namespace": query.conn_params.database,
            "db.query.summary": name,
        }
        if isinstance(query.conn_addr, tuple):
            attributes["server.address"], attributes["server.port"] = query.conn_addr[:2]
        span = self._tracer.start_span(
            name,
            set_span_in_context(request, Context()),
            SpanKind.CLIENT,
            attributes,
            start_time=end - int(query.elapsed * 1e9),
        )
        error = query.exception
        if error is not None:
            # Not the error's text: it may contain values.
            code = error.sqlstate if isinstance(error, PostgresError) else None
            span.set_attribute("error.type", code or type(error).__name__)
            if code:
                span.set_attribute("db.response.status_code", code)
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def _name(self, text: str) -> str:
        name = self._names.get(text)
        if name is not None:
            return name
        word = text.split(maxsplit=1)[0].rstrip(";").upper() if text.strip() else ""
        return word if word in _OF_TRANSACTIONS else _OTHER
