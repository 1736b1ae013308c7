"""The posted forms of the editor and of the contexts, as the preview needs them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration, Snapshot
from app.console.flag.conflict import read_base
from app.console.flag.context_forms import ContextForm, new_context, read_contexts
from app.console.flag.definition import definition_of
from app.console.flag.draft import FlagDraft
from app.console.flag.forms import parse
from app.console.flag.sample_gaps import rules_with_segments
from app.console.forms import Form
from app.console.state import EnvironmentState
from app.errors import Malformed, malformed
from app.flags.preview_views import SampleRequest
from app.flags.sampling import TARGETING_KEY, variables_in
from app.http import decoder
from app.threads import in_thread

_ATTRIBUTES_MAX = 20


@dataclass(frozen=True, kw_only=True)
class PostedPreview:
    """The forms of the editor and of the contexts. `errors` names incomplete fields."""

    definition: Any
    errors: Sequence[str]
    attributes: list[str]
    forms: list[ContextForm]
    contexts: Sequence[dict[str, Any]]
    sample: SampleRequest
    sample_error: str


async def read_posted(
    request: web.Request, state: EnvironmentState, entry: Configuration, form: Form
) -> PostedPreview:
    """Read the forms in a thread, because a draft may be large. Raises Malformed."""
    draft = parse(form.items()) if "version" in form else None
    base = entry if draft is None else await read_base(request, entry, draft.version)

    def read() -> PostedPreview:
        result = None if draft is None else definition_of(draft, base.value)
        definition = base.value if result is None else result.definition
        attributes = _attributes(state.snapshot, entry.value, definition)
        forms = _contexts(form, attributes)
        sample, sample_error = _sample(form)
        return PostedPreview(
            definition=definition,
            errors=[] if result is None else list(result.errors),
            attributes=attributes,
            forms=forms,
            contexts=list(_valid(forms)),
            sample=sample,
            sample_error=sample_error,
        )

    return await in_thread("preview form", read)


def _attributes(snapshot: Snapshot, *definitions: Any) -> list[str]:
    """Return the attributes that the rules and their segments read, the targeting key first."""
    rules = [item.get("targeting") for item in definitions if isinstance(item, dict)]
    rules = rules_with_segments(rules, snapshot.rules.segments)
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


def _sample(form: Form) -> tuple[SampleRequest, str]:
    """Return the sample of the form, and why its attributes cannot be used."""
    attribute = form.get("sample-attribute", "")[:255] or None
    attributes = ContextForm(is_json=True, json=form.get("sample-context", "").strip() or "{}")
    try:
        return SampleRequest(context=attributes.context, attribute=attribute), ""
    except Malformed as error:
        return SampleRequest(attribute=attribute), error.message


def change_guards(draft: FlagDraft, form: Form) -> None:
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
        guards.append(
            decoder.parse(form.get("guard", "").encode(errors="surrogateescape"), root="guard")
        )
    members = {**members, "guards": guards}
    if not guards:
        del members["guards"]
    if draft.view == "json":
        draft.json = json.dumps(members, ensure_ascii=False, indent=2)
    else:
        draft.rest = msgspec.json.encode(members).decode()
