"""Say who a caller is, and what they may do."""

from collections.abc import Iterable

from app.access.actors import actor_names
from app.access.caller import Caller
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.people.views import Me, OwnRight
from app.access.permissions import Keys
from app.database import Connection
from app.names import joined_words


async def me(connection: Connection, caller: Caller, given: Iterable[Grant]) -> Me:
    """Return who a caller is, with these rights in words."""
    names = await actor_names(connection, [caller.actor])
    holder = caller.session or caller.token
    return Me(
        actor=caller.actor,
        actor_name=names[caller.actor],
        expires_at=holder.grant.expires_at if holder is not None else None,
        rights=[_own_right(grant) for grant in given],
    )


def _own_right(grant: Grant) -> OwnRight:
    scopes = [scope for scope in Scope if scope in grant.scopes]
    text = f"{joined_words(scopes)}: {place_words(grant)}"
    return OwnRight(
        scopes=list(scopes),
        environments=sorted(grant.environments),
        prefixes=sorted(grant.prefixes),
        text=text,
    )


def place_words(grant: Grant) -> str:
    """Return the keys and environments of a grant for people."""
    keys = Keys.below(grant.prefixes).words
    if EVERY_ENVIRONMENT in grant.environments:
        return f"{keys} in all environments"
    return f"{keys} in {joined_words(sorted(grant.environments))}"
