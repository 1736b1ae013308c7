"""Add traces and metrics over OTLP to an application, if the settings turn them on."""

from typing import TYPE_CHECKING

from aiohttp import web

from app.http.keys import DATABASE, LIFECYCLE, SETTINGS, TRACING
from app.operations.metrics.collector import Collector
from app.server.components import COMPONENTS, TASKS

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
    telemetry = import_telemetry()(settings, collector, app[LIFECYCLE].serving)
    components.insert(0, telemetry)
    app[TRACING] = telemetry.requests
    app[DATABASE].statement_listener = telemetry.statements.record
