"""Pages of settings and secrets: the list, one entry, a new entry, a copy."""

from aiohttp import web

from app.configuration.changes.models import Kind
from app.configuration.snapshots.reading import load_snapshot
from app.configuration.snapshots.snapshot import Configuration
from app.console.entry_drafts import current_of, pending_change, view_of
from app.console.entry_index import entry_index
from app.console.entry_pages import list_data, missing_entry, page_of_kind
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.settings.forms import form_of, new_form, run_sized
from app.console.settings.views import EntryPage, has_key_ring, other_environments
from app.console.state import EnvironmentState, read_state
from app.errors import NotFound
from app.http import wire

KINDS = (Kind.SETTING, Kind.SECRET)


async def list_settings(request: web.Request) -> web.Response:
    """List the settings and secrets: one level of the tree, or the results of a search."""
    state = await read_state(request)
    index = await entry_index(state.snapshot, KINDS)
    is_page = not is_fragment(request)
    template = "settings/list.html" if is_page else "settings/_rows.html"
    return page(request, template, state=state, is_page=is_page, **list_data(request, index))


async def get_setting(request: web.Request) -> web.Response:
    """Show an entry with its form. The query `as=json` shows the value as JSON."""
    state = await read_state(request)
    if request.match_info["key"] not in state.snapshot.entries:
        return missing_entry(request, state, "settings")
    entry = find_entry(request, state)
    if entry.kind not in KINDS:
        return redirect(frame(request, state).url(page_of_kind(entry.kind), entry.key))
    view = view_of(entry)
    as_json = request.query.get("as") == "json"
    size = len(state.snapshot.entries[entry.key].body)
    form = await run_sized(size, lambda: form_of(entry.key, view, view, as_json=as_json))
    shown = EntryPage(entry=entry, form=form, has_key_ring=has_key_ring(request, entry.kind))
    return page(request, "settings/entry.html", state=state, shown=shown)


async def get_new_setting(request: web.Request) -> web.Response:
    """Show the form of a new setting or secret. `key` is the start of its key."""
    state = await read_state(request)
    kind = wire.choice(request.query, "kind", Kind) or Kind.SETTING
    if kind not in KINDS:
        return redirect(frame(request, state).url(f"{kind}s-new"))
    form = new_form(kind, request.query.get("key", ""))
    shown = EntryPage(entry=None, form=form, has_key_ring=has_key_ring(request, kind))
    return page(request, "settings/entry.html", state=state, shown=shown)


async def get_copy(request: web.Request) -> web.Response:
    """Show what a copy of an entry would change in another environment."""
    state = await read_state(request)
    entry = find_entry(request, state)
    targets = other_environments(request, state)
    target = request.query.get("to")
    if target not in targets:
        target = targets[0] if len(targets) == 1 else None
    current = change = None
    if target is not None:
        current = current_of(await load_snapshot(request, target), entry.key)
        change = await pending_change(entry.key, current, view_of(entry))
    return page(
        request,
        "settings/copy.html",
        state=state,
        entry=entry,
        targets=targets,
        target=target,
        current=current,
        change=change,
        errors=None,
        message="",
    )


def find_entry(request: web.Request, state: EnvironmentState) -> Configuration:
    """Return the entry of the path. Raises NotFound."""
    found = state.snapshot.entries.get(request.match_info["key"])
    if found is None:
        raise NotFound("configuration_unknown", "There is no such configuration.")
    return found.configuration
