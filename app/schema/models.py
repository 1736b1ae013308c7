"""What the HTTP side of the audit tells of the schema."""

from datetime import datetime

import msgspec

from app.database.catalog.recording import RecordingStatus


class SchemaChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a definition, as the server recorded it.

    `acting_role` is the role that `session_role` had become; `object` is null for a grant, where
    the statement tells of what. `is_direct` is false for what went along with something else.
    `statement` is whole up to the first literal or remark, and ends in `...` where it is cut.
    """

    id: int
    at: datetime
    session_role: str
    acting_role: str
    application: str
    client: str | None
    tag: str
    object_type: str | None
    object: str | None
    is_direct: bool
    statement: str


class SchemaAuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of changes. `next` is the `before` of the page after this one, null on the last.

    `status` tells whether changes are recorded, and `reason` why not.
    """

    status: RecordingStatus
    reason: str | None
    items: list[SchemaChangeView]
    next: int | None


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """One migration of the ledger; `running` is one that was cut off, or runs."""

    name: str
    kind: str
    phase: str
    state: str
    checksum: str
    instance: str
    applied_at: datetime
    applied_by: str
    duration_ms: int | None


class MigrationList(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger, the latest first: it has as many rows as there are files."""

    items: list[MigrationView]
