"""A change of who may do what: its author, its history, and the last administrator.

All such changes take one lock, and then read the rights of their author again. So the second of two
administrators who remove each other sees what the first one did, and is refused.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from app.access.caller import Caller
from app.access.delegation import check_within
from app.access.events import AccessEvent, Origin
from app.access.log import AccessLog
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.people.book import GrantBook
from app.access.people.models import IDENTIFIER_MAX
from app.access.people.rights import current_rights
from app.access.people.rows import person_of, read_book
from app.access.people.signatures import RowSigner
from app.access.people.views import REASON_MAX
from app.access.permissions import OPERATOR_RIGHTS, Rights
from app.access.refusals import BY_ADMINISTRATOR, beyond_own, scope_missing
from app.database import Connection, sql
from app.errors import Conflict, Forbidden, invalid
from app.settings import Secret

# The fields of grants and projects, by their names in `delegation.py`.
_FIELDS = {"scopes": "role", "prefixes": "prefix"}
_PEOPLE_AT_ONCE = 200


class AccessEventName(StrEnum):
    """The events of the table access_history."""

    GRANT_CREATED = "grant_created"
    GRANT_REVOKED = "grant_revoked"
    GRANT_NARROWED = "grant_narrowed"
    ROLE_CREATED = "role_created"
    ROLE_CHANGED = "role_changed"
    ROLE_DELETED = "role_deleted"
    PROJECT_CREATED = "project_created"
    PROJECT_CHANGED = "project_changed"
    PROJECT_DELETED = "project_deleted"
    PERSON_SUSPENDED = "person_suspended"
    PERSON_RESTORED = "person_restored"
    ROWS_SIGNED = "rows_signed"


@dataclass(kw_only=True)
class AccessEdit:
    """One transaction that changes who may do what, and the rights of its author.

    `author` is None for an operator and for the service itself. Check `rights` after `lock`: until
    then they come from memory, and may be out of date.
    """

    connection: Connection
    log: AccessLog
    key: Secret
    origin: Origin
    author: Caller | None = None
    rights: Rights = field(init=False)

    def __post_init__(self) -> None:
        self.rights = OPERATOR_RIGHTS if self.author is None else self.author.rights

    @cached_property
    def signer(self) -> RowSigner:
        return RowSigner(self.key)

    async def lock(self, scope: Scope = Scope.ADMIN) -> None:
        """Wait for other changes of access, and read the rights of the author after them.

        Lock environments first: all changes lock in this order. Raises Forbidden for an author who
        has lost the scope everywhere, who would otherwise read that the row does not exist. Raises
        as `current_rights`.
        """
        await sql.take_lock(self.connection, name="access")
        if self.author is not None:
            self.rights = await current_rights(self.connection, self.key, self.author)
        if not self.rights.has(scope):
            raise scope_missing(scope)

    async def book(self) -> GrantBook:
        return await read_book(self.connection, self.signer)

    def require_everything(self) -> None:
        """Check that the author administers all keys of all environments. Raises Forbidden."""
        if not self.rights.covers_all(Scope.ADMIN, EVERY_ENVIRONMENT):
            raise Forbidden(
                "all_keys_needed",
                f"This needs the scope admin for all keys in all environments. {BY_ADMINISTRATOR}",
            )

    def check_own(self, requested: Grant) -> None:
        """Check that the author may give these rights. Raises Forbidden, naming the field."""
        try:
            check_within(self.rights, requested)
        except Forbidden as error:
            field_ = error.violations[0].field
            raise beyond_own(error.code, _FIELDS.get(field_, field_)) from None

    @asynccontextmanager
    async def retaining_an_administrator(self) -> AsyncIterator[None]:
        """Lock, and check that the block leaves an administrator if there was one.

        Raises Conflict: the caller must roll back.
        """
        await self.lock()
        had_one = await has_administrator(self.connection, self.signer)
        yield
        if had_one and not await has_administrator(self.connection, self.signer):
            raise Conflict(
                "last_admin",
                "No person would have the scope admin for all keys in all environments any more. "
                "Give it to another person first.",
            )

    async def record(
        self,
        event: AccessEventName,
        subject: str,
        *,
        reason: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        environments: list[str] | None = None,
        prefix: str | None = None,
    ) -> None:
        """Add the change to the history and the access log, and tell the other instances.

        Without a prefix, the change concerns the whole installation.
        """
        await sql.insert_access_change(
            self.connection,
            actor=self.origin.actor,
            event=event,
            subject=subject,
            environments=environments,
            prefix=prefix,
            reason=reason,
            before=before,
            after=after,
        )
        detail = event.replace("_", " ") + (f": {reason}" if reason else "")
        access = self.origin.did(AccessEvent.RIGHTS_CHANGED, resource=subject, detail=detail)
        await self.log.record(self.connection, access)
        await sql.announce_tokens(self.connection)


async def has_administrator(connection: Connection, signer: RowSigner) -> bool:
    """Return whether a person who is not suspended administers all keys of all environments."""
    book = await read_book(connection, signer)
    full = [
        grant
        for grant in book.grants
        # Compare the prefix first: computing the rights of thousands of grants is slow.
        if grant.prefix == "" and book.union([grant]).covers_all(Scope.ADMIN, EVERY_ENVIRONMENT)
    ]
    ids = [grant.person_id for grant in full if grant.person_id is not None]
    groups = [grant.group_name for grant in full if grant.group_name is not None]
    after = ""
    while ids or groups:
        rows = sql.list_people_with(
            connection, ids=ids, groups=groups, after=after, page_size=_PEOPLE_AT_ONCE
        )
        people = [person_of(row) async for row in rows]
        if any(map(signer.accepts, people)):
            return True
        if len(people) < _PEOPLE_AT_ONCE:
            return False
        after = people[-1].id
    return False


def check_text(field: str, text: str, length_max: int = REASON_MAX) -> None:
    """Check a text that a person writes. Raises Invalid."""
    if len(text) > length_max or not text.isprintable():
        raise invalid(field, f"must have at most {length_max} printable characters")


def check_group(field: str, name: str) -> None:
    """Check the name of a group that a person writes. Raises Invalid."""
    if not name.strip():
        raise invalid(field, "must name a group")
    check_text(field, name, IDENTIFIER_MAX)


def check_reason(reason: str) -> None:
    """Check a required reason. Raises Invalid."""
    if not reason.strip():
        raise invalid("reason", "must not be empty: say why")
    check_text("reason", reason)
