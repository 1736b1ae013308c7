"""A tab of a flag's page: for htmx the part alone, otherwise a page that can be read without it."""

from typing import Any

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.views import VIEWS
from app.console.pages import is_fragment
from app.console.rendering import page
from app.console.state import EnvironmentState


def flag_part(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    view: str,
    template: str,
    **data: Any,
) -> web.Response:
    """Return the part as a fragment, or in a page of its own. `view` is one of VIEWS."""
    outer = template if is_fragment(request) else "flag/alone.html"
    data |= {"part": template, "title": VIEWS[view], "entry": entry, "key": entry.key}
    return page(request, outer, state=state, **data)
