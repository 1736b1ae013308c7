"""The texts and tables of people, roles, grants and projects, and options that commands share."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import typer

from app.access.models import EVERY_ENVIRONMENT
from app.access.people.views import AccessChange, GrantView
from app.access.permissions import Keys
from app.access.prefix_advice import prefix_advice
from app.cli.terminal import error_console, show_table

Reason = Annotated[
    str, typer.Option("--reason", "-r", help="Why, for the history.", metavar="TEXT")
]
Confirmed = Annotated[
    str | None,
    typer.Option("--confirm", help="The name or ID, instead of the prompt for it.", metavar="NAME"),
]
# Members of a change that are columns of their own.
_COLUMNS = {"prefix", "reason"}


def advise_on(*prefixes: str) -> None:
    """Print a warning for each prefix that may say more than was meant. The command goes on."""
    for text in prefix_advice(prefixes):
        error_console.print(f"warning: {text}")


def keys_words(prefix: str) -> str:
    """Return the keys with a prefix, for a column of a table."""
    return prefix or "all"


def environments_words(environments: Iterable[str]) -> str:
    listed = sorted(environments)
    return "all environments" if EVERY_ENVIRONMENT in listed else ", ".join(listed)


def holder_words(grant: GrantView) -> str:
    return f"group {grant.group}" if grant.person is None else grant.holder


def grant_words(grant: GrantView) -> str:
    """Return a grant in words, such as "editor in staging for keys with the prefix payments/"."""
    where = environments_words(grant.environments)
    return f"{grant.role} in {where} for {Keys.below([grant.prefix]).words}"


def minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"


def show_grants(grants: Iterable[GrantView], title: str | None = None) -> None:
    show_table(
        ("id", "holder", "role", "environments", "keys", "by", "since", "reason"),
        [
            (
                *(grant.id, holder_words(grant), grant.role),
                *(environments_words(grant.environments), keys_words(grant.prefix)),
                *(grant.created_by_name, minute(grant.created_at), _reason(grant)),
            )
            for grant in grants
        ],
        title,
    )


def change_words(change: AccessChange) -> str:
    """Return the members that a change gave other values."""
    before, after = change.before or {}, change.after or {}
    names = [
        name
        for name in before | after
        if name not in _COLUMNS and before.get(name) != after.get(name)
    ]
    return "; ".join(f"{name}: {_change(before.get(name), after.get(name))}" for name in names)


def _change(before: Any, after: Any) -> str:
    if after is None:
        return f"was {_value(before)}"
    return _value(after) if before is None else f"{_value(before)} → {_value(after)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) if value != "" else '""'


def _reason(grant: GrantView) -> str:
    return "; ".join([grant.reason, *grant.remarks])
