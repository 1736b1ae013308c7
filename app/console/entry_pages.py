"""Parts that the pages of settings and of segments share: lists, versions, and redirects."""

from typing import Any

from aiohttp import web

from app.configuration.changes.views import AppliedChangeSets
from app.console.entry_index import EntryIndex
from app.console.forms import Form
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.state import EnvironmentState
from app.errors import malformed

_SEARCH_MAX = 200
_PAGES = {"flag": "flags", "segment": "segments"}


def list_data(request: web.Request, index: EntryIndex) -> dict[str, Any]:
    """Return the names of a list's template: a level of the tree, or the results of a search."""
    prefix = request.query.get("prefix", "")
    search = request.query.get("q", "").strip()[:_SEARCH_MAX]
    after = request.query.get("after", "")
    level = index.search(search, prefix, after) if search else index.level(prefix, after)
    return {
        "level": level,
        "prefix": prefix,
        "search": search,
        "after": after,
        "total": len(index.rows),
    }


def page_of_kind(kind: str) -> str:
    """Return the group of pages that shows entries of a kind."""
    return _PAGES.get(kind, "settings")


def missing_entry(request: web.Request, state: EnvironmentState, group: str) -> web.Response:
    """Return the page of a key without an entry. After an undo, lead to the list instead."""
    key = request.match_info["key"]
    if saved := request.query.get("saved"):
        folder = key[: key.rfind("/") + 1] or None
        return redirect(frame(request, state).url(group, prefix=folder, saved=saved))
    return page(request, "entry/missing.html", state=state, status=404, key=key, group=group)


def revision_in(written: AppliedChangeSets, environment: str) -> int | None:
    """Return the revision that a save made in an environment."""
    return next(
        (item.revision for item in written.change_sets if item.environment == environment), None
    )


def leave(request: web.Request, location: str) -> web.Response:
    """Lead to a page. htmx follows its own header, because a redirect would fill the form."""
    if is_fragment(request):
        return web.Response(headers={"HX-Redirect": location})
    return redirect(location)


def read_version(form: Form) -> int:
    """Return the version on which a form is based. Raises Malformed."""
    text = form.get("version", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise malformed("version", "must be a whole number")
    return int(text)
