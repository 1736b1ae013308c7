"""The preview beside the editor of a flag: fragments that htmx loads again after each edit.

Contexts are stored in the browser, for each flag: they are notes of one person, and may name
people. A context that all should see becomes a guard of the flag.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from app.configuration.changes.references import names_in, reachable
from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.flag.actions import ActionEffect
from app.console.flag.conflict import read_base
from app.console.flag.context_forms import (
    ContextForm,
    act_on_contexts,
    new_context,
    read_contexts,
)
from app.console.flag.definition import definition_of
from app.console.flag.draft import FlagDraft
from app.console.flag.editor import editor_page
from app.console.flag.forms import parse
from app.console.flag.preview_panel import context_errors, panel_of
from app.console.flag.views import flag_in
from app.console.forms import Form, read_form
from app.console.rendering import page
from app.console.state import EnvironmentState, read_state
from app.errors import Malformed, NotFound, malformed
from app.flags.handlers import PREVIEWS
from app.flags.preview_views import DraftEntry, PreviewRequest, SampleRequest
from app.flags.sampling import TARGETING_KEY, variables_in
from app.http import decoder

_ATTRIBUTES_MAX = 20
_SETTLED = "HX-Trigger-After-Settle"


async def post_preview(request: web.Request) -> web.Response:
    """Return who changes if the posted draft is saved."""
    form = await read_form(request)
    state = await read_state(request)
    entry = _flag(request, state)
    definition, errors = await _definition(request, entry, form)
    if errors:
        return page(request, "flag/preview/errors.html", state=state, count=len(errors))
    forms = _contexts(form, _attributes(state.snapshot, entry.value, definition))
    contexts = list(_valid(forms))
    sample = _sample(form)
    draft = DraftEntry(
        kind="flag", value=definition, schema=entry.schema, description=entry.description
    )
    preview = await request.app[PREVIEWS].run(
        state.snapshot,
        PreviewRequest(changes={entry.key: draft}, contexts=contexts, sample=sample),
        int(time.time()),
    )
    return page(
        request,
        "flag/preview/results.html",
        state=state,
        key=entry.key,
        panel=panel_of(preview, contexts, entry.value, definition),
        is_draft="version" in form,
        context_errors=context_errors(forms),
    )


async def post_contexts(request: web.Request) -> web.Response:
    """Return the form of the contexts, after the button that was pressed."""
    form = await read_form(request)
    state = await read_state(request)
    entry = _flag(request, state)
    definition, _ = await _definition(request, entry, form)
    attributes = _attributes(state.snapshot, entry.value, definition)
    forms = _contexts(form, attributes)
    act_on_contexts(forms, form.get("context-action", ""), attributes)
    return page(
        request,
        "flag/preview/contexts.html",
        state=state,
        headers={_SETTLED: "contexts-changed"},
        key=entry.key,
        forms=forms,
        has_editor="version" in form,
        sample_context=form.get("sample-context", ""),
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
    _change_guards(draft, form)
    return await editor_page(request, state, base, draft, effect=ActionEffect(text=text))


def _flag(request: web.Request, state: EnvironmentState) -> Configuration:
    entry = flag_in(state.snapshot, request.match_info["key"])
    if entry is None:
        raise NotFound("flag_unknown", "There is no such flag.")
    return entry


async def _definition(
    request: web.Request, entry: Configuration, form: Form
) -> tuple[Any, list[str]]:
    """Return the definition of the posted draft; without a draft the stored one."""
    if "version" not in form:
        return entry.value, []
    draft = parse(form.items())
    base = await read_base(request, entry, draft.version)
    result = definition_of(draft, base.value)
    return result.definition, list(result.errors)


def _attributes(snapshot: Snapshot, *definitions: Any) -> list[str]:
    """Return the attributes that the rules and their segments read, the targeting key first."""
    segments = snapshot.rules.segments
    rules = [item.get("targeting") for item in definitions if isinstance(item, dict)]
    names = {name for rule in rules for name in names_in(rule)}
    graph = {key: set(names_in(segment)) for key, segment in segments.items()}
    rules += [segments[name] for name in sorted(reachable(names, graph)) if name in segments]
    found = dict.fromkeys(name for rule in rules for name in variables_in(rule))
    found.pop(TARGETING_KEY, None)
    return [TARGETING_KEY, *list(found)[:_ATTRIBUTES_MAX]]


def _contexts(form: Form, attributes: list[str]) -> list[ContextForm]:
    """Return the posted contexts, one context for a first visit."""
    forms = read_contexts(form, attributes)
    return forms if forms or "context-shown" in form else [new_context(attributes)]


def _valid(forms: list[ContextForm]) -> Iterator[dict[str, Any]]:
    for form in forms:
        try:
            yield form.context
        except Malformed as error:
            form.error = error.message


def _sample(form: Form) -> SampleRequest:
    """Return the sample of the form. Raises Malformed."""
    text = form.get("sample-context", "").strip()
    context = decoder.parse(text.encode(errors="surrogateescape"), root="sample") if text else {}
    if not isinstance(context, dict):
        raise malformed("sample", "must be a JSON object")
    return SampleRequest(context=context, attribute=form.get("sample-attribute", "")[:255] or None)


def _change_guards(draft: FlagDraft, form: Form) -> None:
    """Change the guards in the members of the draft for which the editor has no field."""
    text = draft.json if draft.view == "json" else draft.rest
    members = decoder.parse(text.encode(errors="surrogateescape"), root="json")
    if not isinstance(members, dict) or not isinstance(members.get("guards", []), list):
        raise malformed("json", "must be an object whose guards are a list")
    guards = list(members.get("guards", []))
    if "remove-guard" in form:
        position = form["remove-guard"]
        guards = [guard for number, guard in enumerate(guards) if str(number) != position]
    else:
        guards.append(decoder.parse(form["guard"].encode(errors="surrogateescape"), root="guard"))
    members = {**members, "guards": guards}
    if not guards:
        del members["guards"]
    if draft.view == "json":
        draft.json = json.dumps(members, ensure_ascii=False, indent=2)
    else:
        draft.rest = msgspec.json.encode(members).decode()
