"""The page with the editor of a flag, or for htmx the form alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from app.configuration.snapshots.snapshot import Configuration
from app.console.actors import actor_of
from app.console.copying.handlers import entry_texts
from app.console.flag import editor_tools
from app.console.flag.actions import ActionEffect, fit
from app.console.flag.conditions import count_conditions
from app.console.flag.conflict import FlagConflict, read_conflict
from app.console.flag.definition import DraftResult, definition_of
from app.console.flag.draft import FlagDraft
from app.console.flag.draft_parts import part_at
from app.console.flag.draft_reader import advanced_reason
from app.console.flag.pending import pending_changes
from app.console.flag.stored_rules import stored_rules
from app.console.flag.views import VIEWS, editor_names, flag_in, head_of, tabs_of
from app.console.forms import FormErrors
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.console.state import EnvironmentState
from app.threads import in_turn

_QUICK_OPTIONS = 100
_QUICK_CONDITIONS = 20
_QUICK_CHARACTERS = 16 * 1024


async def editor_page(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    draft: FlagDraft,
    *,
    effect: ActionEffect | None = None,
    conflict: FlagConflict | None = None,
    errors: FormErrors | None = None,
    status: int = 200,
) -> web.Response:
    """Return the page with the editor, or for htmx the form alone."""
    current = flag_in(state.snapshot, entry.key)
    if conflict is None and (current is None or current.version > entry.version):
        conflict = await read_conflict(request, entry)
    data = {
        **await head_data(request, state, current or entry),
        "announcement": effect.text if effect else "",
        "conflict": conflict,
        "stored_rules": await stored_rules(request, current or entry),
        "names": await editor_names(state.snapshot),
    }

    def render() -> web.Response:
        fit(draft)
        result = definition_of(draft, entry.value)
        problems = errors.by_field if errors and errors.by_field else result.errors
        shown = errors or FormErrors("", filled_in(result.errors, draft))
        first = next(iter(shown.by_field), "") if shown.message else ""
        return page(
            request,
            "flag/editor_fragment.html" if is_fragment(request) else "flag/editor.html",
            state=state,
            status=status,
            headers={"HX-Trigger-After-Settle": "draft-changed"},
            **data,
            view="json" if draft.view == "json" else "targeting",
            draft=draft,
            is_refused=status >= 400,
            errors=shown,
            problems=problems,
            focus=effect.focus if effect else first,
            pending=pending_changes(entry, result),
            texts=entry_texts(request, entry, result.definition, result.description, draft.message),
            advanced=advanced_reason(result.definition) if draft.view == "json" else None,
        )

    return await in_turn("flag", render) if is_large(draft) else render()


def is_large(draft: FlagDraft) -> bool:
    """Return whether drawing the form may take over 20 ms: then it is done in a thread."""
    options = len(draft.variants) * (len(draft.rules) + 1)
    size = len(draft.json) + sum(len(variant.value) for variant in draft.variants)
    conditions = sum(count_conditions(rule.condition) for rule in draft.rules)
    return options > _QUICK_OPTIONS or conditions > _QUICK_CONDITIONS or size > _QUICK_CHARACTERS


def errors_of(result: DraftResult) -> FormErrors:
    return FormErrors("", result.errors)


def filled_in(errors: Mapping[str, Sequence[str]], draft: FlagDraft) -> dict[str, Sequence[str]]:
    """Return the errors without those of empty fields, which a person has yet to fill."""
    return {field: rules for field, rules in errors.items() if not _is_empty(draft, field)}


def _is_empty(draft: FlagDraft, field: str) -> bool:
    try:
        return not part_at(draft, field, str).strip()
    except (LookupError, AttributeError):
        return False


async def head_data(
    request: web.Request, state: EnvironmentState, entry: Configuration
) -> dict[str, Any]:
    environments = frame(request, state).environments
    return {
        "head": head_of(entry.key, entry),
        "tabs": await tabs_of(request, entry.key, environments),
        "views": VIEWS,
        "tools": editor_tools,
        "is_fragment": is_fragment(request),
        "actor_of": partial(actor_of, request),
    }
