"""Read and write proposals, their events, and their sealed secrets, in the caller's transaction.

The value of a secret is sealed by the data key of its environment, and bound to the proposal and
its version. It is deleted when the proposal is applied or withdrawn. Shredding destroys it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.access.permissions import Keys
from app.configuration.changes.models import Kind
from app.configuration.changes.requests import AnyOperation, PutOperation
from app.configuration.proposals.models import (
    Needs,
    Proposal,
    environments_of,
    proposal_of,
)
from app.configuration.proposals.requests import TEXT_MAX
from app.configuration.proposals.states import UNDECIDED, ProposalState
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import NotFound
from app.secrets.envelope import EntryVersion, Sealed, fresh
from app.secrets.vault import Vault

# The environment and the key of a secret.
SecretKey = tuple[str, str]


async def find(connection: Connection, id_: int, *, lock: bool = False) -> Proposal:
    """Return a proposal with its events. Raises NotFound."""
    if lock:
        await sql.lock_proposal(connection, id=id_)
    row = await sql.find_proposal(connection, id=id_)
    if row is None:
        raise unknown_proposal()
    events = [event async for event in sql.list_proposal_events(connection, proposal_id=id_)]
    return proposal_of(row, events)


def unknown_proposal() -> NotFound:
    return NotFound("proposal_unknown", "There is no such proposal.")


async def insert(
    connection: Connection,
    vault: Vault,
    *,
    title: str,
    message: str,
    operations: Sequence[AnyOperation],
    state: ProposalState,
    author: str,
    needs: Needs,
) -> int:
    """Store a new proposal, and return its ID. Raises as the vault."""
    id_: int = await sql.insert_proposal(
        connection,
        environments=environments_of(operations),
        title=title,
        message=message,
        operations=_stored(operations),
        state=state,
        author=author,
        required=needs.required,
        covered=needs.covered,
    )
    await _insert_secrets(connection, vault, id_, 1, operations)
    return id_


async def replace(
    connection: Connection,
    vault: Vault,
    proposal: Proposal,
    operations: Sequence[AnyOperation],
    *,
    version: int,
    needs: Needs,
) -> None:
    """Store the new contents of a proposal. Raises as the vault."""
    await sql.update_proposal(
        connection,
        id=proposal.id,
        environments=environments_of(operations),
        title=proposal.title,
        message=proposal.message,
        operations=_stored(operations),
        version=version,
        state=proposal.state,
        required=needs.required,
        covered=needs.covered,
    )
    await sql.delete_proposal_secrets(connection, proposal_id=proposal.id)
    await _insert_secrets(connection, vault, proposal.id, version, operations)


async def set_state(
    connection: Connection,
    proposal: Proposal,
    state: ProposalState,
    *,
    needs: Needs | None = None,
    reason: str | None = None,
    applied: Mapping[str, int] | None = None,
) -> None:
    await sql.update_proposal_state(
        connection,
        id=proposal.id,
        state=state,
        required=needs and needs.required,
        covered=needs and needs.covered,
        reason=reason,
        applied=applied,
    )
    if state not in UNDECIDED:
        await sql.delete_proposal_secrets(connection, proposal_id=proposal.id)


async def add_event(
    connection: Connection,
    id_: int,
    event: str,
    *,
    version: int,
    actor: str,
    environments: Sequence[str],
    text: str = "",
    approved_keys: Mapping[str, Keys] | None = None,
) -> None:
    """Add an event, and notify all instances after the commit.

    Call it late in the transaction: others that add an event wait until the commit.
    """
    await sql.take_lock(connection, name="proposal_events")
    await sql.insert_proposal_event(
        connection,
        proposal_id=id_,
        version=version,
        event=event,
        actor=actor,
        environments=sorted(environments),
        text=text[:TEXT_MAX],
        approved_keys=None
        if approved_keys is None
        else {name: list(keys.prefixes) for name, keys in approved_keys.items()},
    )
    await sql.announce_proposals(connection)


async def open_secrets(
    connection: Connection, vault: Vault, proposal: Proposal
) -> list[AnyOperation]:
    """Return the operations with the values of their secrets. Never show or log them.

    Raises as the vault: NotFound when a secret was shredded.
    """
    values = await secret_values(connection, vault, proposal)
    return [_with_value(operation, values) for operation in proposal.operations]


async def secret_values(
    connection: Connection, vault: Vault, proposal: Proposal
) -> dict[SecretKey, Any]:
    rows = sql.list_proposal_secrets(connection, proposal_id=proposal.id)
    secrets = {
        (row["environment"], row["key"]): Sealed(
            entry_version=_bound_to(proposal.id, row["environment"], row["key"], row["version"]),
            content=row["sealed"],
        )
        async for row in rows
    }
    if not secrets:
        return {}
    opened = await vault.open(connection, list(secrets.values()))
    return {
        key: msgspec.json.decode(secret.value) for key, secret in zip(secrets, opened, strict=True)
    }


def with_retained_secrets(
    operations: Sequence[AnyOperation], values: Mapping[SecretKey, Any]
) -> list[AnyOperation]:
    """Return operations whose secrets without a value have the one of the proposal."""
    return [
        _with_value(operation, values)
        if isinstance(operation, PutOperation) and operation.value is None
        else operation
        for operation in operations
    ]


def _with_value(operation: AnyOperation, values: Mapping[SecretKey, Any]) -> AnyOperation:
    if not isinstance(operation, PutOperation) or Kind(operation.kind) is not Kind.SECRET:
        return operation
    value = values.get((operation.environment or "", operation.key))
    return msgspec.structs.replace(operation, value=value)


def _stored(operations: Sequence[AnyOperation]) -> list[Any]:
    """Return the operations as JSON, without the values of secrets."""
    return [msgspec.to_builtins(_with_value(operation, {})) for operation in operations]


async def _insert_secrets(
    connection: Connection,
    vault: Vault,
    id_: int,
    version: int,
    operations: Sequence[AnyOperation],
) -> None:
    by_environment: defaultdict[str, list[PutOperation]] = defaultdict(list)
    for operation in operations:
        if isinstance(operation, PutOperation) and Kind(operation.kind) is Kind.SECRET:
            by_environment[operation.environment or ""].append(operation)
    for environment, secrets in sorted(by_environment.items()):
        # The first secret of an environment makes a data key, which needs the lock.
        await environments.lock(connection, environment)
        values = [
            (
                fresh(msgspec.json.encode(secret.value)),
                _bound_to(id_, environment, secret.key, version),
            )
            for secret in secrets
        ]
        sealed = await vault.seal(connection, values)
        await sql.insert_proposal_secrets(
            connection,
            proposal_id=id_,
            version=version,
            environments=[environment] * len(secrets),
            keys=[secret.key for secret in secrets],
            sealed=[value.content for value in sealed],
        )


def _bound_to(id_: int, environment: str, key: str, version: int) -> EntryVersion:
    # No key of an entry has a space. The vault names the key in its errors.
    return EntryVersion(environment=environment, key=f"{key} of proposal {id_}", version=version)
