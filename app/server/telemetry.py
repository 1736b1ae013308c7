"""Add traces and metrics over OTLP to an application, if the settings turn them on."""

from typing import TYPE_CHECKING

from aiohttp import web

from app.http.keys import DATABASE, LIFECYCLE, SETTINGS, TRACING
from app.log import logger
from app.operations.metrics.collector import Collector
from app.server.components import COMPONENTS, TASKS

log = logger(__name__)

if TYPE_CHECKING:
    from app.telemetry.component import Telemetry


def import_telemetry() -> "type[Telemetry]":
    """Import OpenTelemetry, and return the component."""
    from app.telemetry.component import Telemetry  # noqa: PLC0415 - an extra

    return Telemetry


def add_telemetry(app: web.Application) -> None:
    """Add the component as the first one, so that it is closed as the last one."""
    settings, components = app[SETTINGS], app[COMPONENTS]
    if not settings.telemetry.is_on:
        return
    collector = Collector(components, app[TASKS], settings.instance)
    try:
        telemetry = import_telemetry()(settings, collector, app[LIFECYCLE].serving)
    except ValueError as error:
        # Such as a queue that is smaller than a batch. Serve without telemetry.
        log.warning("telemetry_off", problem=f"an OTEL_ variable is invalid: {error}")
        return
    components.insert(0, telemetry)
    app[TRACING] = telemetry.requests
    app[DATABASE].statement_listener = telemetry.statements.record
