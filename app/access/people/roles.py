"""The roles that are built in."""

from collections.abc import Mapping

from app.access.models import PERSONAL_SCOPES, Scope
from app.access.people.models import Role

ADMIN = "admin"

_VIEWER = frozenset({Scope.READ, Scope.EVALUATE})
_EDITOR = _VIEWER | {Scope.WRITE, Scope.PROPOSE}
_REVIEWER = _EDITOR | {Scope.APPROVE}

BUILT_IN: Mapping[str, Role] = {
    role.name: role
    for role in (
        Role(name="viewer", scopes=_VIEWER, description="Read and evaluate."),
        Role(name="editor", scopes=_EDITOR, description="Also write and propose."),
        Role(name="reviewer", scopes=_REVIEWER, description="Also approve proposals."),
        Role(
            name="publisher",
            scopes=_REVIEWER | {Scope.PUBLISH},
            description="Also write to a protected environment without approval.",
        ),
        Role(
            name="secret-reader",
            scopes=_VIEWER | {Scope.REVEAL},
            description="Read and evaluate, and see secrets in clear.",
        ),
        Role(
            name=ADMIN,
            scopes=PERSONAL_SCOPES,
            description="All but relay and publish. Also manage tokens, people, roles and grants.",
        ),
    )
}
