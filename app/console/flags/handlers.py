"""The list of flags: the home page of the console."""

from aiohttp import web

from app.console.flags.elsewhere import count_elsewhere
from app.console.flags.filters import SORTS, STATES, TOGGLES, TYPES, FlagFilter, read_filter
from app.console.flags.listing import (
    INDEXES,
    LAST_EVALUATIONS,
    PAGE_SIZE,
    read_listing,
)
from app.console.flags.saved_filters import read_saved_filters
from app.console.flags.views import rows_of
from app.console.pages import is_fragment
from app.console.rendering import Frame, frame, page
from app.console.state import read_state
from app.flags.index import FlagIndexes
from app.flags.last_evaluations import LastEvaluationsCache
from app.http import wire
from app.http.keys import DATABASE

# The elements that htmx replaces, and the templates for them.
_LIST = "flags/renewed_list.html"
_FRAGMENTS = {"flag-list": _LIST, "more-flags": "flags/_rows.html"}


def add_flag_list(app: web.Application) -> None:
    """Store the summaries of flags, which requests share, in the application."""
    app[INDEXES] = FlagIndexes()
    app[LAST_EVALUATIONS] = LastEvaluationsCache(app[DATABASE])


async def get_flags(request: web.Request) -> web.Response:
    """List the flags of an environment, beside those of the other environments."""
    state = await read_state(request)
    around, chosen = frame(request, state), read_filter(request.query)
    start = wire.whole_number(request.query, "start") or 0
    listing = await read_listing(request, state, around, chosen, start)

    template, headers = "flags/list.html", {"Vary": "HX-Request"}
    if is_fragment(request):
        template = _FRAGMENTS.get(request.headers.get("HX-Target", ""), _LIST)
        if template == _LIST:
            headers |= _history(request, around, chosen)
    return page(
        request,
        template,
        state=state,
        headers=headers,
        listing=listing,
        elsewhere=[] if listing.matching else await count_elsewhere(request, around, chosen),
        rows=list(rows_of(listing, around)),
        chosen=chosen,
        address=lambda **query: around.url("flags", **{**chosen.parameters, **query}),
        search_address=around.url("flags", q=""),
        page_size=PAGE_SIZE,
        states=STATES,
        types=TYPES,
        sorts=SORTS,
        prefix_options=[(name, f"{name} ({count})") for name, count in listing.prefixes],
        toggles=TOGGLES,
        saved_filters=read_saved_filters(request),
    )


def _history(request: web.Request, around: Frame, chosen: FlagFilter) -> dict[str, str]:
    """Return the header with the URL of the filter.

    A search that goes on replaces its own URL, so that the back button needs no press per letter.
    """
    is_typing = request.headers.get("HX-Trigger") == "filters"
    goes_on = is_typing and "q=" in request.headers.get("HX-Current-URL", "")
    name = "HX-Replace-Url" if goes_on else "HX-Push-Url"
    return {name: around.url("flags", **chosen.parameters)}
