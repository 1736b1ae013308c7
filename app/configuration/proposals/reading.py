"""Read proposals for a caller: the parts that they may see, and the version."""

from app.access.permissions import Rights
from app.configuration.proposals import store
from app.configuration.proposals.models import Proposal
from app.configuration.proposals.parts import visible_part
from app.database import Connection
from app.errors import Stale, Violation
from app.http.conditions import ExpectedVersion


async def find(connection: Connection, id_: int, rights: Rights, *, lock: bool = False) -> Proposal:
    """Return a proposal if the caller may read a part of it. Raises NotFound."""
    proposal = await store.find(connection, id_, lock=lock)
    if visible_part(proposal, rights) is None:
        raise store.unknown_proposal()
    return proposal


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
