"""Read proposals for a token: which it may see, which it may change, and their version."""

from collections.abc import Sequence

from app.access.models import EVERY_ENVIRONMENT, Grant
from app.configuration.proposals import store
from app.configuration.proposals.models import Proposal
from app.database import Connection
from app.errors import Forbidden, Stale, Violation
from app.http.conditions import ExpectedVersion


def is_visible(proposal: Proposal, grant: Grant) -> bool:
    """Return whether a token may read a part of the proposal.

    A deleted environment is not the one that has its name now.
    """
    if EVERY_ENVIRONMENT in grant.environments:
        return True
    return not proposal.is_outdated and any(map(grant.covers, proposal.environments))


async def find(connection: Connection, id_: int, grant: Grant, *, lock: bool = False) -> Proposal:
    """Return a proposal that the token may read in part. Raises NotFound."""
    proposal = await store.find(connection, id_, lock=lock)
    if not is_visible(proposal, grant):
        raise store.unknown_proposal()
    return proposal


def require_all(grant: Grant, environments: Sequence[str]) -> None:
    """Require a token for every environment. Raises Forbidden."""
    if not all(map(grant.covers, environments)):
        raise Forbidden("environment_foreign", "The token is not for every environment named.")


def check_version(proposal: Proposal, expected: ExpectedVersion | None) -> None:
    """Raise Stale when the caller has seen another version of the proposal."""
    if expected is not None and not expected.is_met(proposal.version, ""):
        rule = f"is at version {proposal.version}"
        raise Stale(
            f"The proposal {rule}. Read it again.",
            version=proposal.version,
            epoch="",
            violations=[Violation("proposal", rule)],
        )
