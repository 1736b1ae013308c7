"""The forms of an environment: its properties, and a new one."""

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
from app.errors import Invalid, invalid
from app.http.decoder import violation_of

Shape = TypeVar("Shape")


@dataclass(frozen=True, kw_only=True)
class PropertiesForm:
    """The properties of an environment as typed, and those with which the form began (`base`).

    A save patches the difference of both. So it leaves alone what the person did not change.
    """

    version: int
    metadata: str
    fractional: str
    protected: bool
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
        if not (removed or changed or has_fractional or has_protected):
            raise Invalid("unchanged", "Nothing has changed.")
        return _converted(
            {
                "op": "patch",
                "version": self.version,
                "metadata": removed | changed,
                **({"fractional": self.fractional} if has_fractional else {}),
                **({"protected": self.protected} if has_protected else {}),
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
            base=base,
            message=self.message,
        )

    def _mine_or(self, current: Any, name: str, mine: Any) -> Any:
        return current if mine == self.base[name] else mine


def properties_base(environment: Environment) -> dict[str, Any]:
    return {
        "metadata": environment.metadata,
        "fractional": environment.fractional,
        "protected": environment.protected,
    }


def properties_form(environment: Environment) -> PropertiesForm:
    """Return the form that shows the properties of an environment."""
    return PropertiesForm(
        version=environment.version,
        metadata=pretty(environment.metadata),
        fractional=environment.fractional,
        protected=environment.protected,
        base=properties_base(environment),
    )


def read_properties(form: Form) -> PropertiesForm:
    """Return what was posted. Raises Malformed for the version, Invalid for a damaged form."""
    base = parse_json(form.get("base", ""), "base")
    if not isinstance(base, dict) or not {"metadata", "fractional", "protected"} <= base.keys():
        raise invalid("base", "must have the properties with which the form began")
    if not isinstance(base["metadata"], dict):
        raise invalid("base", "must have the metadata with which the form began")
    return PropertiesForm(
        version=read_version(form),
        metadata=form.get("metadata", ""),
        fractional=form.get("fractional", ""),
        protected="protected" in form,
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
