"""The form of a new flag: its fields as typed, and the operations that it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from app.configuration.changes.requests import PutOperation
from app.console.forms import Form
from app.errors import Malformed, invalid
from app.flags.summary import EXPIRES, OWNER, type_of
from app.http.decoder import parse

TYPES = {
    "boolean": "On or off",
    "string": "Text",
    "number": "Number",
    "object": "JSON object",
}
_RULES = {"boolean": "true or false", "number": "a number", "object": "a JSON object"}
# A flag with more variants is easier to write as a file.
VARIANTS_MAX = 50
_DEFAULTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "boolean": (("on", "true"), ("off", "false")),
    "string": (("", ""), ("", "")),
    "number": (("", ""), ("", "")),
    "object": (("", "{}"), ("", "{}")),
}


@dataclass(frozen=True, kw_only=True)
class NewFlagForm:
    """The fields as typed. `served` is the number of the variant that is served to all."""

    key: str = ""
    type: str = "boolean"
    description: str = ""
    owner: str = ""
    expires: str = ""
    variants: Sequence[tuple[str, str]] = _DEFAULTS["boolean"]
    served: int = 1
    environments: Sequence[str] = ()
    message: str = ""

    def with_type(self) -> "NewFlagForm":
        """Return the form with the variants that its type begins with, unless some are typed."""
        served = 1 if self.type == "boolean" else 0
        return replace(self, variants=_DEFAULTS[self.type], served=served)

    def with_more(self) -> "NewFlagForm":
        """Return the form with one more variant."""
        added = ("", "{}" if self.type == "object" else "")
        return replace(self, variants=[*self.variants, added][:VARIANTS_MAX])


def read_new_flag(form: Form) -> NewFlagForm:
    """Read the posted fields. Raises Invalid for a type or a number that no browser sends."""
    type_ = form.get("type", "boolean")
    if type_ not in TYPES:
        raise invalid("type", f"must be one of {', '.join(TYPES)}")
    names, values = form.getall("variant", []), form.getall("variant_value", [])
    served = form.get("served", "0")
    if len(names) != len(values) or not served.isdecimal() or len(names) > VARIANTS_MAX:
        raise invalid("variants", f"must be 1 to {VARIANTS_MAX} names with their values")
    return NewFlagForm(
        key=form.get("key", "").strip(),
        type=type_,
        description=form.get("description", "").strip(),
        owner=form.get("owner", "").strip(),
        expires=form.get("expires", "").strip(),
        variants=list(zip(map(str.strip, names), values, strict=True)),
        served=int(served[:4]),
        environments=[name for name in form.getall("environment", []) if name],
        message=form.get("message", "").strip(),
    )


def operations_of(form: NewFlagForm, current: str) -> list[PutOperation]:
    """Return the creation in each chosen environment. Raises Invalid for values and the day.

    Other environments than the current one serve false to all, if the flag is on or off.
    """
    if not form.environments:
        raise invalid("environment", "must be at least one")
    variants = _variants(form)
    off = next((name for name, value in variants.items() if value is False), None)
    served = form.variants[form.served][0] if form.served < len(form.variants) else ""
    metadata = _metadata(form)
    operations = []
    for environment in form.environments:
        name = served
        if form.type == "boolean" and environment != current:
            if off is None:
                raise invalid("variants", "must have a false one, for the other environments")
            name = off
        definition = {"state": "ENABLED", "variants": variants, "defaultVariant": name}
        operations.append(
            PutOperation(
                key=form.key,
                version=0,
                value=definition | ({"metadata": metadata} if metadata else {}),
                kind="flag",
                description=form.description or None,
                environment=environment,
            )
        )
    return operations


def _variants(form: NewFlagForm) -> dict[str, Any]:
    """Return the variants with a name. Raises Invalid."""
    variants: dict[str, Any] = {}
    for position, (name, text) in enumerate(form.variants):
        if not name and text.strip() in ("", "{}") and position != form.served:
            continue
        if not name:
            raise invalid(f"variants[{position}]", "must have a name")
        if name in variants:
            raise invalid(f"variants[{position}]", f"must be unique, but {name} occurs twice")
        value = text or name if form.type == "string" else text
        variants[name] = _value(form.type, value, f"variants[{position}]")
    return variants


def _value(type_: str, text: str, field: str) -> Any:
    if type_ == "string":
        return text
    try:
        value = parse(text.encode(errors="surrogatepass"), root=field)
    except Malformed as error:
        raise invalid(field, error.violations[0].rule) from None
    if type_of({field: value}) != type_:
        raise invalid(field, f"must be {_RULES[type_]}")
    return value


def _metadata(form: NewFlagForm) -> dict[str, str]:
    if form.expires:
        try:
            date.fromisoformat(form.expires)
        except ValueError:
            raise invalid("expires", "must be a day such as 2026-12-31") from None
    metadata = {OWNER: form.owner, EXPIRES: form.expires}
    return {name: value for name, value in metadata.items() if value}
