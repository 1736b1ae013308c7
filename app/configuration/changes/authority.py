"""What allows a write: the rights of its author, and for protected keys approvals or an emergency.

`service.prepare` checks every change set here, because it alone knows all keys that are written.
The checks before it only save work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.access.models import Scope
from app.access.permissions import OPERATOR_RIGHTS, Keys, Rights
from app.access.refusals import environment_foreign, limits
from app.errors import Forbidden, Violation
from app.evaluation.lists import ListReference

# Stands for the properties of an environment among keys. No entry has this key, and only rights for
# all keys cover it.
PROPERTIES = ""
# A text names at most 10 keys; its violations name up to 100.
_NAMED_MAX = 10
_VIOLATIONS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Authority:
    """What allows a write.

    `rights` are those of the author. `scope` is what they must hold for each key that is written;
    None leaves that to the caller. The answer shows nothing of keys that the author may not read.

    `proposal` is the ID of a proposal. `approvers` have approved it: their actors, each with the
    keys that the actor may approve in this environment. `authors` are those of them who have
    written the proposal. `lists` are those that the stored proposal names in this environment, by
    key: the author of that operation was allowed to name them.

    `emergency` needs no approval: the caller has checked that the message gives a reason.
    `is_dry_run` reports a lack of approvals in the change set instead of raising: the caller must
    roll back.
    """

    rights: Rights
    scope: Scope | None = Scope.WRITE
    proposal: str | None = None
    approvers: Mapping[str, Keys] = field(default_factory=dict)
    authors: frozenset[str] = frozenset()
    lists: Mapping[str, ListReference] = field(default_factory=dict)
    emergency: bool = False
    is_dry_run: bool = False

    def visible(self, environment: str) -> Keys:
        """Return the keys whose entries errors may show to the author."""
        return visible_keys(self.rights, environment)


def visible_keys(rights: Rights, environment: str) -> Keys:
    """Return the keys of the entries that errors may show: those to read, write or propose."""
    readable = rights.keys(Scope.READ, environment)
    return readable if readable.is_all else readable | rights.keys(Scope.PROPOSE, environment)


# For the service itself, and for local commands without options.
OPERATOR_AUTHORITY = Authority(rights=OPERATOR_RIGHTS)


def check_author(authority: Authority, environment: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that the author may propose, but not write. Raises Forbidden for others."""
    if authority.scope is None:
        return []
    rest = outside(authority.rights.keys(authority.scope, environment), keys)
    if rest and authority.scope is Scope.WRITE:
        # The scope write includes propose.
        require_keys(authority.rights, Scope.PROPOSE, environment, rest)
    elif rest:
        raise keys_foreign(authority.scope, rest, authority.rights, environment)
    return rest


def require_keys(rights: Rights, scope: Scope, environment: str, keys: Iterable[str]) -> None:
    """Require a scope for each of the keys. Raises Forbidden."""
    if foreign := outside(rights.keys(scope, environment), keys):
        raise keys_foreign(scope, foreign, rights, environment)


def outside(held: Keys, keys: Iterable[str]) -> list[str]:
    """Return the keys that are not among those held."""
    return [] if held.is_all else [key for key in keys if key not in held]


def keys_foreign(
    scope: Scope, foreign: Sequence[str], rights: Rights, environment: str
) -> Forbidden:
    """Return the refusal for keys that lack a scope. It names those that the caller may read."""
    visible = visible_keys(rights, environment)
    if not visible:
        # Without the name of the environment, which the caller may not know.
        return environment_foreign("every environment named")
    named = sorted(name_of(key) for key in foreign if key in visible or key == PROPERTIES)
    shown = ", ".join(named[:_NAMED_MAX])
    if len(named) > _NAMED_MAX or len(named) < len(foreign):
        shown = f"{shown} and others" if shown else "every key of this request"
    return Forbidden(
        "key_foreign",
        f"Your rights in {environment} do not cover {shown}. "
        f"{limits(scope, rights.keys(scope, environment))}",
        [
            Violation(name, f"is outside of your keys in {environment}")
            for name in named[:_VIOLATIONS_MAX]
        ],
    )


def name_of(key: str) -> str:
    """Return the key for people."""
    return key or "properties"
