"""The vault of a running service, and the checks before a handler reveals a secret."""

from collections.abc import Mapping

from aiohttp import web

from app.access.events import AccessEvent
from app.access.guard import ACCESS_LOG, origin, require
from app.access.models import Scope
from app.database import Connection
from app.http import wire
from app.secrets.vault import Vault

VAULT: web.AppKey[Vault] = web.AppKey("vault", Vault)


def wants_secrets(request: web.Request, query: Mapping[str, str]) -> bool:
    """Read the query parameter `reveal`. Raises Forbidden without the scope reveal for the key.

    Without a key in the path, the scope must hold for any key, and the handler filters.
    """
    if not wire.flag(query, "reveal"):
        return False
    require(request, Scope.REVEAL)
    return True


async def log_reveal(
    connection: Connection,
    request: web.Request,
    *,
    key: str | None = None,
    version: int | None = None,
    detail: str | None = None,
) -> None:
    """Write the access log's row in the transaction that opens the secret.

    Raises Unavailable when the row cannot be written; then the handler must not reveal anything.
    """
    access = origin(request).did(
        AccessEvent.SECRET_READ,
        environment=request.match_info["environment"],
        resource=key,
        version=version,
        detail=detail,
    )
    await request.app[ACCESS_LOG].record(connection, access)
