"""The preview beside the editor of a flag: fragments that htmx loads again after each edit.

Contexts are stored in the browser, for each flag: they are notes of one person, and may name
people. A context that all should see becomes a guard of the flag.
"""

import time

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.flag.actions import ActionEffect
from app.console.flag.conflict import read_base
from app.console.flag.context_forms import act_on_contexts
from app.console.flag.editor import editor_page
from app.console.flag.forms import parse
from app.console.flag.preview_form import change_guards, read_posted
from app.console.flag.preview_panel import context_errors, panel_of
from app.console.flag.sample_gaps import sample_gaps
from app.console.flag.views import require_flag
from app.console.forms import read_form
from app.console.rendering import page
from app.console.state import EnvironmentState, read_state
from app.flags.handlers import PREVIEWS
from app.flags.preview_views import DraftEntry, PreviewRequest
from app.threads import in_thread

_SETTLED = "HX-Trigger-After-Settle"


async def post_preview(request: web.Request) -> web.Response:
    """Return who changes if the posted draft is saved."""
    form = await read_form(request)
    state = await read_state(request)
    entry = _flag(request, state)
    posted = await read_posted(request, state, entry, form)
    if posted.errors:
        count = len(posted.errors)
        return page(request, "flag/preview/errors.html", state=state, count=count)
    draft = DraftEntry(
        kind="flag", value=posted.definition, schema=entry.schema, description=entry.description
    )
    preview = await request.app[PREVIEWS].run(
        state.snapshot,
        PreviewRequest(
            changes={entry.key: draft}, contexts=list(posted.contexts), sample=posted.sample
        ),
        int(time.time()),
    )

    def render() -> web.Response:
        panel = panel_of(preview, posted.contexts, entry.value, posted.definition)
        return page(
            request,
            "flag/preview/results.html",
            state=state,
            key=entry.key,
            panel=panel,
            gaps=sample_gaps(
                posted.definition,
                state.snapshot.rules.segments,
                posted.sample.context,
                panel.attributes,
            ),
            sample_attributes=posted.sample.context,
            is_draft="version" in form,
            boxes=[n for n, item in enumerate(posted.forms) if not item.error]
            if "context-shown" in form
            else [],
            context_errors=context_errors(posted.forms, posted.sample_error),
        )

    # The steps of ten contexts take longer than the event loop may be held.
    return await in_thread("preview", render)


async def post_contexts(request: web.Request) -> web.Response:
    """Return the form of the contexts, after the button that was pressed."""
    form = await read_form(request)
    state = await read_state(request)
    entry = _flag(request, state)
    posted = await read_posted(request, state, entry, form)
    action = form.get("context-action", "")
    act_on_contexts(posted.forms, action, posted.attributes)
    return page(
        request,
        "flag/preview/contexts.html",
        state=state,
        headers={_SETTLED: "contexts-changed"},
        key=entry.key,
        forms=posted.forms,
        has_editor="version" in form,
        sample_context="" if action == "clear sample" else form.get("sample-context", ""),
        sample_attribute=form.get("sample-attribute", ""),
    )


async def post_guard(request: web.Request) -> web.Response:
    """Add the posted guard to the draft, or remove the one at a position, and show the editor."""
    form = await read_form(request)
    state = await read_state(request)
    entry = _flag(request, state)
    draft = parse(form.items())
    base = await read_base(request, entry, draft.version)
    text = "Guard removed." if "remove-guard" in form else "Guard added."
    await in_thread("guards", lambda: change_guards(draft, form))
    return await editor_page(request, state, base, draft, effect=ActionEffect(text=text))


def _flag(request: web.Request, state: EnvironmentState) -> Configuration:
    return require_flag(state.snapshot, request.match_info["key"])
