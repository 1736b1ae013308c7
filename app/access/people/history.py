"""Read the history of grants, roles, projects and suspensions."""

from app.access.actors import actor_names
from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.people.edit import AccessEventName
from app.access.people.models import person_id_of
from app.access.people.views import AccessChange, AccessHistoryPage
from app.access.permissions import Rights
from app.database import Connection, sql


async def list_page(
    connection: Connection,
    rights: Rights,
    *,
    before: int,
    limit: int,
    event: AccessEventName | None = None,
    subject: str | None = None,
) -> AccessHistoryPage:
    """Return the changes that an administrator with these rights may see, the latest first.

    Roles and suspensions concern the whole installation, so others do not see them.
    """
    has_all = rights.covers_all(Scope.ADMIN, EVERY_ENVIRONMENT)
    own = rights.prefixes(Scope.ADMIN)
    rows = sql.list_access_changes(
        connection,
        before=before,
        event=event,
        subject=None if subject is None else person_id_of(subject),
        own_environments=None if has_all else [name for name, _ in own],
        own_prefixes=None if has_all else [prefix for _, prefix in own],
        page_size=limit + 1,
    )
    page = [row async for row in rows]
    names = await actor_names(connection, [row["actor"] for row in page])
    items = [
        AccessChange(
            id=row["id"],
            at=row["at"],
            actor=row["actor"],
            actor_name=names[row["actor"]],
            event=row["event"],
            subject=row["subject"],
            environments=row["environments"],
            prefix=row["prefix"],
            reason=row["reason"],
            before=row["old"],
            after=row["new"],
        )
        for row in page[:limit]
    ]
    return AccessHistoryPage(items=items, next=items[-1].id if len(page) > limit else None)
