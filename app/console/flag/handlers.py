"""The page of a flag, as a person reads it."""

from aiohttp import web

from app.console.flag.draft_reader import draft_of
from app.console.flag.editor import editor_page, head_data
from app.console.flag.sentences import rule_sentences
from app.console.flag.views import VIEWS, flag_in, tabs_of
from app.console.plan.handlers import get_plan
from app.console.rendering import frame, page
from app.console.state import EnvironmentState, read_state
from app.errors import NotFound


async def get_flag(request: web.Request) -> web.Response:
    """Show a flag: its targeting, or the view that the query names."""
    state = await read_state(request)
    key = request.match_info["key"]
    entry = flag_in(state.snapshot, key)
    if entry is None:
        return await _missing(request, state)
    view = request.query.get("view", "targeting")
    view = view if view in VIEWS else "targeting"
    if view == "plan":
        return await get_plan(request, state, entry)
    data = await head_data(request, state, entry) | {"view": view}
    if view not in ("targeting", "json"):
        return page(request, "flag/part.html", state=state, **data)
    if not frame(request, state).may_write:
        sentences = rule_sentences(entry.value)
        return page(request, "flag/read_only.html", state=state, sentences=sentences, **data)
    draft = draft_of(
        entry.value, entry.description, entry.version, view="json" if view == "json" else "rules"
    )
    return await editor_page(request, state, entry, draft)


async def _missing(request: web.Request, state: EnvironmentState) -> web.Response:
    """Offer to create the flag as in another environment. Raises NotFound if none has it."""
    key = request.match_info["key"]
    around = frame(request, state)
    tabs = await tabs_of(request, key, around.environments)
    if not any(tab.status for tab in tabs):
        raise NotFound(
            "flag_unknown", f"There is no flag {key} in {state.snapshot.environment.name}."
        )
    return page(request, "flag/missing.html", state=state, status=404, key=key, tabs=tabs)
