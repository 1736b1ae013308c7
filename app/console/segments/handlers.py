"""Pages of segments: the list, one segment, a new segment, and the preview of who is in."""

import time
from dataclasses import replace
from typing import Any

from aiohttp import web

from app.configuration.changes.models import Kind
from app.configuration.changes.views import EntryView
from app.console.entry_drafts import view_of
from app.console.entry_index import entry_index
from app.console.entry_pages import list_data, missing_entry, page_of_kind
from app.console.flag import editor_tools
from app.console.flag.context_forms import value_of
from app.console.flag.draft import DraftRule, FlagDraft
from app.console.flag.forms import parse
from app.console.flag.views import editor_names
from app.console.forms import Form, FormErrors, read_form
from app.console.json_text import parse_json
from app.console.lists.page import show_list
from app.console.pages import is_fragment, redirect
from app.console.rendering import frame, page
from app.console.segments.drafts import (
    condition_in,
    draft_of_segment,
    new_segment_draft,
    segment_of,
)
from app.console.segments.membership import check_contexts, membership_of, membership_request
from app.console.segments.views import (
    SegmentPage,
    attributes_of,
    shortened,
    users_of,
    with_words,
    words_of,
)
from app.console.settings.forms import run_sized
from app.console.settings.handlers import find_entry
from app.console.state import EnvironmentState, read_state
from app.errors import AppError
from app.evaluation.lists import list_reference
from app.evaluation.rule_tree import Advanced
from app.flags.handlers import PREVIEWS

_NO_ERRORS = FormErrors()
_CONTEXT = "context."


async def list_segments(request: web.Request) -> web.Response:
    """List the segments: one level of the tree, or the results of a search."""
    state = await read_state(request)
    index = await entry_index(state.snapshot, (Kind.SEGMENT,))
    data = list_data(request, index)
    rows = with_words(state.snapshot, data["level"].rows)
    data["level"] = replace(data["level"], rows=rows)
    is_page = not is_fragment(request)
    template = "segments/list.html" if is_page else "segments/_rows.html"
    return page(request, template, state=state, is_page=is_page, **data)


async def get_segment(request: web.Request) -> web.Response:
    """Show a segment with its editor. The query `view=json` shows it as JSON."""
    state = await read_state(request)
    if request.match_info["key"] not in state.snapshot.entries:
        return missing_entry(request, state, "segments")
    entry = find_entry(request, state)
    if entry.kind != Kind.SEGMENT:
        return redirect(frame(request, state).url(page_of_kind(entry.kind), entry.key))
    if list_reference(entry.value) is not None:
        return await show_list(request, state, entry)
    view = view_of(entry)
    as_json = request.query.get("view") == "json"
    size = len(state.snapshot.entries[entry.key].body)
    shown = await run_sized(
        size,
        lambda: segment_page(state, entry.key, draft_of_segment(view, as_json=as_json), view),
    )
    return await show(request, state, shown)


async def get_new_segment(request: web.Request) -> web.Response:
    """Show the editor of a new segment. `key` is the start of its key."""
    state = await read_state(request)
    draft = new_segment_draft()
    segment, _ = segment_of(draft, None)
    shown = segment_page(state, request.query.get("key", ""), draft, segment, is_new=True)
    return await show(request, state, shown)


async def post_preview(request: web.Request) -> web.Response:
    """Show who is in the segment, now and after the draft, and which flags change."""
    state = await read_state(request)
    form = await read_form(request)
    key = request.match_info.get("key") or form.get("key", "").strip() or "new"
    draft = parse(form.items())
    size = sum(len(value) for value in form.values())
    segment, errors = await run_sized(size, lambda: segment_of(draft, None))
    data: dict[str, Any] = {"membership": None, "problem": "", "is_complete": not errors}
    if errors:
        return page(request, "segments/_membership.html", state=state, **data)
    try:
        contexts = _read_contexts(form)
    except AppError as error:
        data["problem"] = FormErrors.of(error).message
        return page(request, "segments/_membership.html", state=state, **data)
    body, probe = membership_request(state.snapshot, key, segment.value, contexts)
    preview = await request.app[PREVIEWS].run(state.snapshot, body, int(time.time()))
    data["membership"] = membership_of(preview, probe, contexts)
    return page(request, "segments/_membership.html", state=state, **data)


def _read_contexts(form: Form) -> list[dict[str, Any]]:
    """Return the contexts: those in JSON, or the one of the fields. Raises Invalid."""
    text = form.get("contexts", "")
    if text.strip():
        return check_contexts(parse_json(text, "contexts"))
    context: dict[str, Any] = {}
    for attribute, value in typed_context(form).items():
        if value.strip():
            _put(context, attribute.split("."), value_of(value.strip()))
    return [context]


def typed_context(form: Form) -> dict[str, str]:
    """Return the texts of the preview's fields by attribute."""
    return {
        name.removeprefix(_CONTEXT): value
        for name, value in form.items()
        if name.startswith(_CONTEXT)
    }


def _put(context: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = context.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        context = inner
    context[path[-1]] = value


def segment_page(
    state: EnvironmentState,
    key: str,
    draft: FlagDraft,
    segment: EntryView,
    *,
    is_new: bool = False,
    **parts: Any,
) -> SegmentPage:
    """Return the data of the page that shows a draft of a segment."""
    found = None if is_new else state.snapshot.entries.get(key)
    # A posted form may have no condition.
    draft.rules = draft.rules or [DraftRule()]
    reason = ""
    if found is not None and draft.view == "json":
        condition = condition_in(found.configuration.value)
        reason = condition.reason if isinstance(condition, Advanced) else ""
    return SegmentPage(
        entry=None if found is None else found.configuration,
        key=key,
        draft=draft,
        words=shortened(words_of(segment.value)) if segment.value else "",
        reason=reason,
        users=[] if is_new else users_of(state.snapshot, key),
        attributes=attributes_of(state.snapshot, segment.value),
        **parts,
    )


async def show(
    request: web.Request,
    state: EnvironmentState,
    shown: SegmentPage,
    *,
    errors: FormErrors = _NO_ERRORS,
    focus: str = "",
    status: int = 200,
    template: str = "segments/_editor.html",
) -> web.Response:
    """Return the page, or for htmx the template of a part."""
    return page(
        request,
        template if is_fragment(request) else "segments/segment.html",
        state=state,
        status=status,
        shown=shown,
        draft=shown.draft,
        errors=errors,
        focus=focus,
        tools=editor_tools,
        names=await editor_names(state.snapshot),
        is_part=is_fragment(request),
        draft_url=frame(request, state).url("segments-draft", *_key_path(shown)),
    )


def _key_path(shown: SegmentPage) -> list[str]:
    return [] if shown.entry is None else [shown.key]
