"""The rules of a limited caller that an evaluator can run without the entries of others.

A document for evaluators must contain every segment and flag that a rule uses. A limited caller
gets no content of others, so what uses it is left out.
"""

from collections.abc import Mapping
from typing import NamedTuple

from app.access.permissions import Keys
from app.configuration.changes.models import Content
from app.configuration.changes.references import used_names


class OwnRules(NamedTuple):
    """The entries that use own entries alone, and why others are left out, by key."""

    entries: Mapping[str, Content]
    left_out: Mapping[str, str]


def own_rules(entries: Mapping[str, Content], keys: Keys) -> OwnRules:
    """Return the entries without those that use a foreign entry, directly or through others."""
    if keys.is_all:
        return OwnRules(entries, {})
    uses = {key: set(used_names(content)) for key, content in entries.items()}
    left_out: dict[str, str] = {}
    lost = {name for names in uses.values() for name in names if name not in keys}
    while lost:
        users = {key: names & lost for key, names in uses.items() if key not in left_out}
        users = {key: names for key, names in users.items() if names}
        left_out |= {key: f"uses {min(names)}, which is left out" for key, names in users.items()}
        lost = set(users)
    return OwnRules({k: entry for k, entry in entries.items() if k not in left_out}, left_out)
