"""Try a proposal against the present: a dry run by the code that writes change sets.

The contents are checked before the transaction, as for every write. The caller runs `try_out` in a
transaction that is rolled back.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.access.models import Scope
from app.access.permissions import Rights
from app.configuration.changes import service as changes
from app.configuration.changes.approvals import missing_approvals
from app.configuration.changes.authority import Authority
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.intents import contents_of, intents_of, patch_of
from app.configuration.changes.models import ChangeKind, ChangeSet, Content, Operation
from app.configuration.changes.named_lists import check_lists, names_any_list
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import (
    AnyOperation,
    NewChangeSet,
    PatchOperation,
    PutOperation,
)
from app.configuration.proposals import store
from app.configuration.proposals.approvals import approvals_missing
from app.configuration.proposals.models import Needs, Proposal, lists_in
from app.configuration.proposals.parts import may_read_all
from app.database import Connection, Database
from app.environments import service as environments
from app.environments.protection import Protection
from app.errors import AppError, ApprovalRequired, Conflict, Forbidden, RetryLater, Stale
from app.http.conditions import ExpectedVersion
from app.secrets.vault import Vault


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A proposal whose contents have been checked, with the changes in each environment.

    `stored` are the operations that it has in the database. Their lists were checked with the
    rights of who wrote them, so others may apply them.

    `intents` have the values of secrets: never show or log them.
    """

    proposal: Proposal
    intents: Mapping[str, Intent]
    stored: Sequence[AnyOperation] = ()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of a trial: the change sets, or why they are refused, by environment.

    `needs` are the approvals that it needs.
    """

    change_sets: Mapping[str, ChangeSet]
    refusals: Mapping[str, AppError]
    needs: Needs

    def check(self, proposal: Proposal, rights: Rights) -> None:
        """Raise the first refusal, if the caller may read all keys of its environment."""
        for name, error in self.refusals.items():
            if may_read_all(proposal, name, rights):
                raise error
        if self.refusals:
            raise refused_elsewhere()


def refused_elsewhere() -> Conflict:
    """Return the refusal of a proposal without the reason, which may show other keys."""
    return Conflict(
        "proposal_refused",
        "The proposal cannot be applied now. To read the reason, you need the scope read for all "
        "of its keys.",
    )


async def check(
    database: Database, vault: Vault, checks: ContentChecks, proposal: Proposal
) -> Checked:
    """Check the contents of a stored proposal.

    Raises as the vault, and as the checks of a write.
    """
    async with database.connection() as connection:
        operations = await store.open_secrets(connection, vault, proposal)
    return Checked(
        proposal=proposal,
        intents=await intents(checks, operations),
        stored=proposal.operations,
    )


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


async def check_draft(database: Database, checked: Checked, *, actor: str, rights: Rights) -> None:
    """Check the lists of a draft, which is not tried. Raises Invalid.

    Later steps do not check them, and the submitter may have more rights than the author.
    """
    if names_any_list(rights):
        return
    async with database.connection() as connection:
        for name, intent in sorted(checked.intents.items()):
            authority = Authority(rights=rights, lists=lists_in(checked.stored, name))
            await check_lists(connection, intent.operations, authority, actor=actor)


async def try_out(
    connection: Connection,
    checked: Checked,
    *,
    actor: str,
    rights: Rights,
    vault: Vault,
    scope: Scope | None = None,
) -> Trial:
    """Return the change sets that the proposal would make now. The caller rolls back.

    The actor must hold the scope for each key, unless it is None.
    """
    proposal = checked.proposal
    change_sets, refusals, required, covered = {}, {}, {}, {}
    authority = Authority(rights=rights, scope=scope, proposal=str(proposal.id), is_dry_run=True)
    for name, intent in sorted(checked.intents.items()):
        try:
            change_set = await apply_intent(
                connection,
                proposal,
                name,
                intent,
                actor=actor,
                vault=vault,
                authority=replace(authority, lists=lists_in(checked.stored, name)),
            )
        except (RetryLater, Forbidden):
            raise
        except AppError as error:
            refusals[name] = error.with_traceback(None)
            continue
        change_sets[name] = change_set
        if change_set.lacking:
            protection = (await environments.get(connection, name)).protection
            required[name] = protection.approvals if protection is not None else 0
            covered[name] = change_set.lacking
    needs = Needs(required=required, covered=covered)
    return Trial(change_sets=change_sets, refusals=refusals, needs=needs)


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
    except ApprovalRequired as error:
        protection = (await environments.get(connection, environment)).protection or Protection()
        covered = [violation.field for violation in error.violations]
        lacking = missing_approvals(protection, authority, covered)
        raise approvals_missing({environment: lacking}) from None
