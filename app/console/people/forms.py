"""The forms of grants, roles and projects, as they were typed."""

from dataclasses import dataclass

from multidict import MultiMapping


@dataclass(frozen=True, kw_only=True)
class GrantForm:
    """A new grant, to a person or to a group."""

    person: str = ""
    group: str = ""
    role: str = "viewer"
    environments: tuple[str, ...] = ()
    prefix: str = ""
    reason: str = ""

    @classmethod
    def of(cls, form: MultiMapping[str]) -> "GrantForm":
        return cls(
            person=form.get("person", "").strip(),
            group=form.get("group", "").strip(),
            role=form.get("role", "viewer"),
            environments=tuple(form.getall("environments", [])),
            prefix=form.get("prefix", "").strip(),
            reason=form.get("reason", "").strip(),
        )


@dataclass(frozen=True, kw_only=True)
class RoleForm:
    """A role of its own. `version` is empty for a new one."""

    name: str = ""
    description: str = ""
    scopes: tuple[str, ...] = ()
    version: str = ""
    reason: str = ""

    @classmethod
    def of(cls, form: MultiMapping[str]) -> "RoleForm":
        return cls(
            name=form.get("name", "").strip(),
            description=form.get("description", "").strip(),
            scopes=tuple(form.getall("scopes", [])),
            version=form.get("version", ""),
            reason=form.get("reason", "").strip(),
        )


@dataclass(frozen=True, kw_only=True)
class ProjectForm:
    """A project. `version` is empty for a new one."""

    name: str = ""
    prefix: str = ""
    owner_group: str = ""
    description: str = ""
    version: str = ""
    reason: str = ""

    @classmethod
    def of(cls, form: MultiMapping[str]) -> "ProjectForm":
        names = ("name", "prefix", "owner_group", "description", "reason")
        fields = {name: form.get(name, "").strip() for name in names}
        return cls(**fields, version=form.get("version", ""))
