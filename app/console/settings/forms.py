"""The form of an entry: its value, description and schema as a person has typed them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from msgspec import UNSET

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Kind
from app.configuration.changes.requests import PutOperation
from app.configuration.changes.views import EntryView
from app.console.entry_pages import read_version
from app.console.forms import Form
from app.console.json_text import parse_json, pretty
from app.console.settings.typed_value import converted, read_typed, text_of, type_of
from app.console.settings.value_fields import ValueField
from app.console.settings.value_form import NoForm, build
from app.console.settings.value_reader import filled, read_value
from app.errors import AppError, Invalid, Violation, invalid, malformed
from app.threads import in_turn

DESCRIPTION_MAX = 2_000
# Larger forms are read in a thread.
_QUICK_CHARACTERS = 16 * 1024
Mode = Literal["form", "typed"]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class EntryForm:
    """The form of one entry. `version` is that of the entry on which it is based; 0 is a new one.

    In the mode `form`, `field` has the fields of the value. Otherwise `type` and `text` have it,
    and `reason` says why there are no fields. `draft` is what the form means, None if it cannot be
    read: then `violations` say why.
    """

    key: str
    kind: str
    version: int
    mode: Mode
    type: str = "text"
    text: str = ""
    field: ValueField | None = None
    reason: str = ""
    description: str = ""
    schema_text: str = ""
    message: str = ""
    draft: EntryView | None = None
    violations: tuple[Violation, ...] = ()

    @property
    def error(self) -> Invalid | None:
        return Invalid.of("field_invalid", self.violations) if self.violations else None

    def operation(self, environment: str | None = None) -> PutOperation:
        """Return the operation that stores the draft. Raises Invalid if it cannot be read."""
        if self.draft is None:
            raise self.error or invalid("value", "must be given")
        return PutOperation(
            key=self.key,
            version=self.version,
            value=self.draft.value,
            kind=_kind(self.kind),
            schema=self.draft.schema,
            description=self.draft.description,
            environment=environment,
        )


def _kind(text: str) -> Any:
    if text not in (Kind.SETTING, Kind.SECRET):
        raise invalid("kind", f"must be {Kind.SETTING} or {Kind.SECRET}")
    return text


def new_form(kind: str, key: str = "") -> EntryForm:
    return EntryForm(key=key, kind=kind, version=0, mode="typed")


def form_of(key: str, entry: EntryView, base: EntryView, *, as_json: bool = False) -> EntryForm:
    """Return the form that shows a content. Its fields follow the schema of the base."""
    built = NoForm("") if as_json else _build(base.schema, entry)
    form = EntryForm(
        key=key,
        kind=entry.kind,
        version=base.version,
        mode="form" if isinstance(built, ValueField) else "typed",
        field=built if isinstance(built, ValueField) else None,
        reason=built.reason if isinstance(built, NoForm) else "",
        description=entry.description or "",
        schema_text="" if entry.schema is None else pretty(entry.schema),
        draft=entry,
    )
    if entry.sealed or form.mode == "form":
        return form
    is_json = as_json or base.schema is not None
    type_ = "json" if is_json else type_of(entry.value)
    return replace(form, type=type_, text=text_of(entry.value, type_))


def _build(schema: dict[str, Any] | None, entry: EntryView) -> ValueField | NoForm:
    # A secret is only written: its fields would be empty, and look as if it had no value.
    if schema is None or entry.kind == Kind.SECRET:
        return NoForm("")
    return build(schema, entry.value)


async def read_entry_form(form: Form, key: str, base: EntryView | None) -> EntryForm:
    """Return what was posted. Large forms are read in a thread. Raises Malformed."""
    size = sum(len(value) for value in form.values())
    return await run_sized(size, lambda: _read(form, key, base))


async def run_sized(characters: int, work: Callable[[], Result]) -> Result:
    """Run work on this many characters: much of it in a thread. Raises Unavailable."""
    return work() if characters <= _QUICK_CHARACTERS else await in_turn("entry-form", work)


def _read(form: Form, key: str, base: EntryView | None) -> EntryForm:
    kind = base.kind if base is not None else form.get("kind", Kind.SETTING)
    entered = EntryForm(
        key=key,
        kind=kind,
        version=read_version(form),
        mode="typed",
        type=form.get("type", "json"),
        text=form.get("value", ""),
        description=form.get("description", ""),
        schema_text=form.get("schema", ""),
        message=form.get("message", ""),
    )
    violations: list[Violation] = []
    if form.get("mode") == "form" and base is not None and base.schema is not None:
        entered, value = _read_fields(entered, form, base, violations)
    else:
        value = _attempt(lambda: _read_typed(entered, base), violations)
    schema = _attempt(lambda: _read_schema(entered.schema_text), violations)
    description = entered.description or None
    if len(entered.description) > DESCRIPTION_MAX:
        rule = f"must have at most {DESCRIPTION_MAX:,} characters"
        violations.append(Violation("description", rule))
    if value is UNSET and base is not None and not violations:
        was_edited = description != base.description or not are_equal(schema, base.schema)
        if was_edited:
            violations.append(Violation("value", "must be given again: a write replaces it"))
    if violations:
        return replace(entered, violations=tuple(violations))
    is_unchanged_secret = value is UNSET
    draft = EntryView(
        kind=kind,
        value=None if is_unchanged_secret else value,
        sealed=is_unchanged_secret,
        schema=schema,
        description=description,
        version=entered.version + (not is_unchanged_secret),
    )
    return replace(entered, draft=draft)


def _read_fields(
    entered: EntryForm, form: Form, base: EntryView, violations: list[Violation]
) -> tuple[EntryForm, Any]:
    """Read the fields of the base's schema."""
    built = build(base.schema or {}, base.value)
    if isinstance(built, NoForm):
        # A merged draft may have a form that its base has not.
        built = build(base.schema or {})
    if isinstance(built, NoForm):
        raise malformed("mode", "must be typed: the schema has no form")
    value, found = read_value(built, form)
    violations += found
    return replace(entered, mode="form", field=filled(built, form)), value


def _read_typed(entered: EntryForm, base: EntryView | None) -> Any:
    """Return the value, or UNSET for a secret that stays as it is."""
    if entered.kind == Kind.SECRET and not entered.text:
        if base is None:
            raise invalid("value", "must be given")
        return UNSET
    return read_typed(entered.type, entered.text)


def _read_schema(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    schema = parse_json(text, "schema")
    if not isinstance(schema, dict):
        raise invalid("schema", "must be a JSON object")
    return schema


def _attempt(read: Callable[[], Any], violations: list[Violation]) -> Any:
    try:
        return read()
    except AppError as error:
        violations += error.violations
        return None


def with_type(entered: EntryForm, shown_type: str) -> EntryForm:
    """Return the form after its type was changed from the shown one, with the same value."""
    text = converted(entered.text, shown_type, entered.type)
    return replace(entered, text=text)


def as_json(entered: EntryForm) -> EntryForm:
    """Return the form with the value as JSON instead of fields."""
    if entered.draft is None:
        return entered
    return replace(entered, mode="typed", type="json", text=pretty(entered.draft.value), field=None)
