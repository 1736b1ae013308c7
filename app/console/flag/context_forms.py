"""The contexts of the preview as a form: each as one field per attribute, or as JSON."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from app.console.forms import Form
from app.errors import Malformed
from app.evaluation.nodes import MISSING
from app.flags.sampling import put_at
from app.http.decoder import parse

CONTEXTS_MAX = 10
_ATTRIBUTES_MAX = 100
_SCALAR = re.compile(r"true|false|null|-?[0-9].*|[\[{\"].*", re.DOTALL)


@dataclass(kw_only=True)
class ContextForm:
    """One context as it was typed. `error` says why it cannot be evaluated."""

    is_json: bool = False
    json: str = "{}"
    rows: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""

    @property
    def context(self) -> dict[str, Any]:
        """The context. Raises Malformed for JSON that is no object."""
        if not self.is_json:
            # A rule reads `user.team` as the member of an object.
            context: dict[str, Any] = {}
            for name, text in sorted(self.rows, key=lambda row: row[0].count(".")):
                if name and text:
                    put_at(context, name.split("."), value_of(text))
            return context
        parsed = parse(self.json.encode(errors="surrogateescape"), root="context")
        if not isinstance(parsed, dict):
            raise Malformed("context_malformed", "context: must be a JSON object")
        return parsed


def read_contexts(form: Form, attributes: Sequence[str]) -> list[ContextForm]:
    """Return the contexts in the fields `context-N-…`. Each form offers these attributes."""
    contexts = []
    for number in range(CONTEXTS_MAX):
        if f"context-{number}-view" not in form:
            break
        names = form.getall(f"context-{number}-name", [])[:_ATTRIBUTES_MAX]
        values = form.getall(f"context-{number}-value", [])
        rows = list(zip(names, values, strict=False))
        contexts.append(
            ContextForm(
                is_json=form[f"context-{number}-view"] == "json",
                json=form.get(f"context-{number}-json", "{}"),
                rows=list(_completed(rows, attributes)),
            )
        )
    return contexts


def act_on_contexts(contexts: list[ContextForm], action: str, attributes: Sequence[str]) -> None:
    """Change the contexts by the value of a button: a verb, and the number of a context."""
    verb, _, text = action.partition(" ")
    if verb == "add" and len(contexts) < CONTEXTS_MAX:
        contexts.append(new_context(attributes, len(contexts) + 1))
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else CONTEXTS_MAX
    if number >= len(contexts):
        return
    if verb == "remove":
        del contexts[number]
    elif verb in ("json", "form"):
        contexts[number] = _in_view(contexts[number], attributes, is_json=verb == "json")


def new_context(attributes: Sequence[str], number: int = 1) -> ContextForm:
    return form_of({"targetingKey": f"user-{number}"}, attributes)


def form_of(context: dict[str, Any], attributes: Sequence[str]) -> ContextForm:
    rest: dict[str, Any] = deepcopy(context)
    paths = [name for name in attributes if "." in name]
    rows = [(name, text_of(value)) for name in paths if (value := _take(rest, name)) is not MISSING]
    rows += [(name, text_of(value)) for name, value in rest.items()]
    return ContextForm(rows=list(_completed(rows, attributes)))


def _take(context: dict[str, Any], name: str) -> Any:
    """Remove the value at a path and return it, or MISSING. Remove empty objects too."""
    first, _, others = name.partition(".")
    if not others:
        return context.pop(first, MISSING)
    inner = context.get(first)
    value = _take(inner, others) if isinstance(inner, dict) else MISSING
    if value is not MISSING and not inner:
        del context[first]
    return value


def value_of(text: str) -> Any:
    """Return a typed value: a number, true, false, null, or JSON, and otherwise the text."""
    if not _SCALAR.fullmatch(text):
        return text
    try:
        return parse(text.encode(errors="surrogateescape"), root="context")
    except Malformed:
        return text


def text_of(value: Any) -> str:
    """Return the text that `value_of` reads as this value."""
    if isinstance(value, str) and value and value_of(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _completed(
    rows: Iterable[tuple[str, str]], attributes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield the offered attributes in their order, then the others that have a name."""
    texts = dict(rows)
    yield from ((name, texts.pop(name, "")) for name in attributes)
    yield from ((name, text) for name, text in texts.items() if name)


def _in_view(form: ContextForm, attributes: Sequence[str], *, is_json: bool) -> ContextForm:
    try:
        context = form.context
    except Malformed as error:
        form.error = error.message
        return form
    if is_json:
        return ContextForm(is_json=True, json=json.dumps(context, ensure_ascii=False, indent=2))
    return form_of(context, attributes)
