"""A tab of a flag's page: for htmx the part alone, otherwise a page that can be read without it."""

from typing import Any

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.pages import is_fragment
from app.console.rendering import page
from app.console.state import EnvironmentState


def flag_part(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    template: str,
    **data: Any,
) -> web.Response:
    """Return the part as a fragment, or in a page of its own."""
    outer = template if is_fragment(request) else "flag/alone.html"
    return page(request, outer, state=state, part=template, entry=entry, key=entry.key, **data)
