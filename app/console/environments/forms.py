"""The forms of an environment: its properties, and a new one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.requests import NewEnvironment, PatchOperation
from app.console.entry_drafts import merged_json
from app.console.entry_pages import read_version
from app.console.forms import Form
from app.console.json_text import parse_json, pretty
from app.environments.models import Environment
from app.environments.protection import APPROVALS_MAX
from app.errors import Invalid, invalid
from app.http.decoder import violation_of

Shape = TypeVar("Shape")
_MEMBERS = {"metadata", "fractional", "protected", "protection"}


@dataclass(frozen=True, kw_only=True)
class PropertiesForm:
    """The properties of an environment as typed, and those with which the form began (`base`).

    A save patches the difference of both. So it leaves alone what the person did not change.
    """

    version: int
    metadata: str
    fractional: str
    protected: bool
    protection: "ProtectionForm"
    base: dict[str, Any]
    message: str = ""

    def patch(self) -> PatchOperation:
        """Return the operation that stores the changes. Raises Invalid if there are none."""
        metadata = _metadata(self.metadata)
        before = self.base["metadata"]
        removed = dict.fromkeys(before.keys() - metadata.keys())
        changed = {
            name: value
            for name, value in metadata.items()
            if name not in before or not are_equal(before[name], value)
        }
        has_fractional = self.fractional != self.base["fractional"]
        has_protected = self.protected != self.base["protected"]
        protection = self.protection.read()
        has_protection = not are_equal(protection, self.base["protection"])
        if not (removed or changed or has_fractional or has_protected or has_protection):
            raise Invalid("unchanged", "Nothing has changed.")
        return _converted(
            {
                "op": "patch",
                "version": self.version,
                "metadata": removed | changed,
                **({"fractional": self.fractional} if has_fractional else {}),
                **({"protected": self.protected} if has_protected else {}),
                **({"protection": protection} if has_protection else {}),
            },
            PatchOperation,
        )

    def on_top_of(self, current: Environment) -> "PropertiesForm":
        """Return the form with the changes of the person on top of the current properties."""
        base = properties_base(current)
        try:
            mine: Any = _metadata(self.metadata)
        except Invalid:
            mine = self.base["metadata"]
        fractional = self._mine_or(current.fractional, "fractional", self.fractional)
        return PropertiesForm(
            version=current.version,
            metadata=pretty(merged_json(self.base["metadata"], mine, current.metadata)),
            fractional=str(fractional),
            protected=bool(self._mine_or(current.protected, "protected", self.protected)),
            protection=self._protection(base["protection"]),
            base=base,
            message=self.message,
        )

    def _protection(self, current: dict[str, Any] | None) -> "ProtectionForm":
        try:
            is_mine = not are_equal(self.protection.read(), self.base["protection"])
        except Invalid:
            is_mine = True
        return self.protection if is_mine else protection_form(current)

    def _mine_or(self, current: Any, name: str, mine: Any) -> Any:
        return current if mine == self.base[name] else mine


@dataclass(frozen=True, kw_only=True)
class ProtectionForm:
    """The protection as typed. 0 approvals are none. `keys` has a prefix in each line."""

    approvals: str = "0"
    self_approval: bool = False
    keys: str = ""

    def read(self) -> dict[str, Any] | None:
        """Return the protection as JSON, None for no approvals. Raises Invalid."""
        text = self.approvals.strip() or "0"
        if not (text.isascii() and text.isdecimal() and int(text[:9]) <= APPROVALS_MAX):
            raise invalid("approvals", f"must be a number from 0 to {APPROVALS_MAX}")
        if int(text) == 0:
            return None
        return {
            "approvals": int(text),
            "self_approval": self.self_approval,
            "keys": self.keys.split(),
        }


def protection_form(protection: Mapping[str, Any] | None) -> ProtectionForm:
    """Return the form that shows a protection as JSON."""
    if protection is None:
        return ProtectionForm()
    return ProtectionForm(
        approvals=str(protection["approvals"]),
        self_approval=protection["self_approval"],
        keys="\n".join(protection["keys"]),
    )


def _read_protection(form: Form) -> ProtectionForm:
    return ProtectionForm(
        approvals=form.get("approvals", "0"),
        self_approval="self_approval" in form,
        keys=form.get("keys", ""),
    )


def properties_base(environment: Environment) -> dict[str, Any]:
    return {
        "metadata": environment.metadata,
        "fractional": environment.fractional,
        "protected": environment.protected,
        "protection": msgspec.to_builtins(environment.protection),
    }


def properties_form(environment: Environment) -> PropertiesForm:
    """Return the form that shows the properties of an environment."""
    return PropertiesForm(
        version=environment.version,
        metadata=pretty(environment.metadata),
        fractional=environment.fractional,
        protected=environment.protected,
        protection=protection_form(properties_base(environment)["protection"]),
        base=properties_base(environment),
    )


def read_properties(form: Form) -> PropertiesForm:
    """Return what was posted. Raises Malformed for the version, Invalid for a damaged form."""
    base = parse_json(form.get("base", ""), "base")
    if not isinstance(base, dict) or not base.keys() >= _MEMBERS:
        raise invalid("base", "must have the properties with which the form began")
    if not isinstance(base["metadata"], dict):
        raise invalid("base", "must have the metadata with which the form began")
    return PropertiesForm(
        version=read_version(form),
        metadata=form.get("metadata", ""),
        fractional=form.get("fractional", ""),
        protected="protected" in form,
        protection=_read_protection(form),
        base=base,
        message=form.get("message", ""),
    )


def read_new_environment(form: Form) -> NewEnvironment:
    """Return the body of the API's request. Raises Invalid."""
    return _converted(
        {
            "name": form.get("name", "").strip(),
            "tier": form.get("tier", ""),
            "metadata": _metadata(form.get("metadata", "")),
            "fractional": form.get("fractional", ""),
            "protected": "protected" in form,
            "protection": _read_protection(form).read(),
            "message": form.get("message", ""),
        },
        NewEnvironment,
    )


def _metadata(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    metadata = parse_json(text, "metadata")
    if not isinstance(metadata, dict):
        raise invalid("metadata", "must be a JSON object")
    if None in metadata.values():
        raise invalid("metadata", "must not contain null; leave a member out instead")
    return cast("dict[str, Any]", metadata)


def _converted(members: dict[str, Any], shape: type[Shape]) -> Shape:
    try:
        return msgspec.convert(members, shape)
    except msgspec.ValidationError as error:
        raise Invalid.of("field_invalid", [violation_of(error)]) from None
