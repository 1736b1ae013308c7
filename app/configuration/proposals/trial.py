"""Try a proposal against the present: a dry run by the code that writes change sets.

The contents are checked before the transaction, as for every write. The caller runs `try_out` in a
transaction that is rolled back.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.access.models import Grant
from app.configuration.changes import service as changes
from app.configuration.changes.approvals import Authority, missing_approvals
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.intents import contents_of, intents_of, patch_of
from app.configuration.changes.models import ChangeKind, ChangeSet, Content, Operation
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import (
    AnyOperation,
    NewChangeSet,
    PatchOperation,
    PutOperation,
)
from app.configuration.proposals import store
from app.configuration.proposals.approvals import approvals_missing
from app.configuration.proposals.models import Proposal
from app.database import Connection, Database
from app.environments import service as environments
from app.errors import AppError, ApprovalRequired, Conflict, RetryLater, Stale
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A proposal whose contents have been checked, with the changes in each environment.

    `intents` have the values of secrets: never show or log them.
    """

    proposal: Proposal
    intents: Mapping[str, Intent]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of a trial: the change sets, or why they are refused, by environment.

    `required` has the number of approvals that each environment needs.
    """

    change_sets: Mapping[str, ChangeSet]
    refusals: Mapping[str, AppError]
    required: Mapping[str, int]

    def check(self, grant: Grant) -> None:
        """Raise the first refusal, without the keys of an environment that the token is not for."""
        for name, error in self.refusals.items():
            if grant.covers(name):
                raise error
        if self.refusals:
            raise Conflict(
                "proposal_refused",
                "The proposal cannot be applied now in an environment that the token is not for.",
            )


async def check(
    database: Database, vault: Vault, checks: ContentChecks, proposal: Proposal
) -> Checked:
    """Check the contents of a stored proposal.

    Raises as the vault, and as the checks of a write.
    """
    async with database.connection() as connection:
        operations = await store.open_secrets(connection, vault, proposal)
    return Checked(proposal=proposal, intents=await intents(checks, operations))


async def intents(
    checks: ContentChecks, operations: Sequence[AnyOperation]
) -> Mapping[str, Intent]:
    """Return the changes in each environment. Raises as the checks of a write."""
    body = NewChangeSet(operations=list(operations))
    return await checks.run(contents_of(body), lambda check: intents_of(body, "", check))


def unchecked(operations: Sequence[AnyOperation]) -> Mapping[str, Intent]:
    """Return the changes in each environment to show them, also if their contents are refused.

    Secrets have no values.
    """
    puts: defaultdict[str, list[Operation]] = defaultdict(list)
    patches = {}
    for item in operations:
        name, expected = item.environment or "", ExpectedVersion(version=item.version or None)
        if isinstance(item, PatchOperation):
            patches[name] = patch_of(item, expected)
        else:
            content = Content.of(item) if isinstance(item, PutOperation) else None
            puts[name].append(Operation(key=item.key, content=content, expected=expected))
    return {
        name: Intent(operations=puts.get(name, ()), patch=patches.get(name))
        for name in puts.keys() | patches.keys()
    }


async def try_out(connection: Connection, checked: Checked, *, actor: str, vault: Vault) -> Trial:
    """Return the change sets that the proposal would make now. The caller rolls back."""
    proposal = checked.proposal
    change_sets, refusals, required = {}, {}, {}
    authority = Authority(proposal=str(proposal.id), is_dry_run=True)
    for name, intent in sorted(checked.intents.items()):
        try:
            change_set = await apply_intent(
                connection,
                proposal,
                name,
                intent,
                actor=actor,
                vault=vault,
                authority=authority,
            )
        except RetryLater:
            raise
        except AppError as error:
            refusals[name] = error.with_traceback(None)
            continue
        change_sets[name] = change_set
        if change_set.approval_required:
            protection = (await environments.get(connection, name)).protection
            required[name] = protection.approvals if protection is not None else 0
    return Trial(change_sets=change_sets, refusals=refusals, required=required)


async def apply_intent(
    connection: Connection,
    proposal: Proposal,
    environment: str,
    intent: Intent,
    *,
    actor: str,
    vault: Vault,
    authority: Authority,
    message: str = "",
) -> ChangeSet:
    """Write the change set of one environment, or try it. Raises Conflict if it is stale.

    The message for the history is that of the proposal by default.
    """
    if proposal.is_outdated:
        raise Conflict(
            "proposal_outdated",
            "An environment of the proposal was deleted. Create a new proposal.",
        )
    try:
        return await changes.apply(
            connection,
            environment,
            intent.operations,
            actor=actor,
            kind=ChangeKind.PROPOSAL,
            message=message or proposal.message or proposal.title,
            patch=intent.patch,
            vault=vault,
            authority=authority,
            is_dry_run=authority.is_dry_run,
        )
    except Stale as error:
        raise Conflict(
            "proposal_stale",
            f"The proposal is out of date in {environment}: {error.message.rstrip('.')}. "
            "Read its preview, and edit it.",
            error.violations,
        ) from None
    except ApprovalRequired:
        protection = (await environments.get(connection, environment)).protection
        lacking = 0 if protection is None else missing_approvals(protection, authority)
        raise approvals_missing({environment: lacking}) from None
