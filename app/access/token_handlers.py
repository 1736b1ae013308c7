"""The endpoints of tokens. An administrator manages only tokens within their own rights."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from app.access import token_views as views
from app.access import tokens
from app.access.expiry import expiry
from app.access.format import GeneratedToken, is_id
from app.access.guard import CALLER, TOKENS
from app.access.models import Grant
from app.access.people.access_writes import edit_of
from app.access.people.edit import AccessEdit
from app.access.token_views import TokenView
from app.database import Connection
from app.errors import Conflict, NotFound
from app.http import wire
from app.http.keys import DATABASE
from app.http.writes import run_write

Work = Callable[[AccessEdit], Awaitable[GeneratedToken]]


async def list_tokens(request: web.Request) -> web.Response:
    """List the tokens within the caller's environments and keys.

    Expired and revoked tokens are included. Pages are in the order of IDs.
    """
    query = wire.read_query(request, {"after", "limit"})

    async with request.app[DATABASE].connection() as connection:
        page = await tokens.list_page(
            connection,
            request[CALLER].rights,
            after=query.get("after", ""),
            limit=wire.page_size(query),
        )

    return wire.answer(page)


async def get_token(request: web.Request) -> web.Response:
    """Read a token.

    The answer has no text: the service does not store it.
    """
    wire.read_query(request, set())

    async with request.app[DATABASE].connection() as connection:
        token = await tokens.find(connection, request[CALLER].rights, read_id(request))

    return wire.answer(token)


async def create_token(request: web.Request) -> web.Response:
    """Create a token.

    This answer is the only one that contains the text of the token.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.NewToken)
    scopes = frozenset(body.scopes)
    grant = Grant(
        scopes=scopes,
        environments=frozenset(body.environments),
        prefixes=tokens.read_prefixes(body.prefixes),
        expires_at=expiry(scopes, expires_at=body.expires_at, expires_days=body.expires_days),
    )

    return await _issue(request, lambda edit: tokens.create(edit, name=body.name, grant=grant))


async def rotate_token(request: web.Request) -> web.Response:
    """Replace a token by a new one.

    The old token remains valid for `grace_seconds`.
    """
    wire.read_query(request, set())
    body = await wire.read_body(request, views.RotationRequest)
    token_id = read_id(request)

    return await _issue(
        request, lambda edit: tokens.rotate(edit, token_id, grace_seconds=body.grace_seconds)
    )


async def revoke_token(request: web.Request) -> web.Response:
    """Revoke a token.

    Every instance refuses it within one second. A revocation cannot be undone.
    """
    wire.read_query(request, set())
    token_id = read_id(request)

    async def revoke(connection: Connection) -> TokenView:
        await tokens.revoke(edit_of(request, connection), token_id)
        return await tokens.get(connection, token_id)

    revoked = await request.app[DATABASE].transact(revoke)
    await request.app[TOKENS].refresh_if_possible()

    return wire.answer(revoked)


async def _issue(request: web.Request, work: Work) -> web.Response:
    """Do the work once per Idempotency-Key, and answer with the text of the new token.

    The stored answer has no text. So a repeat raises Conflict, which names the token.
    """
    texts: dict[str, str] = {}

    async def create(connection: Connection) -> TokenView:
        new = await work(edit_of(request, connection))
        texts[new.id] = new.text
        return await tokens.get(connection, new.id)

    view = await run_write(request, create, actor=request[CALLER].actor, answer_type=TokenView)
    if view.id not in texts:
        raise Conflict(
            "token_issued_before",
            f"This Idempotency-Key has created the token {view.id}. Its text is shown only once. "
            "If it is lost, revoke that token and create another one under another key.",
        )
    # The token is valid here at once, and within a second elsewhere.
    await request.app[TOKENS].refresh_if_possible()
    issued = views.IssuedToken(text=texts[view.id], token=view)
    return wire.answer(issued, status=201, headers={"Location": f"/v1/tokens/{view.id}"})


def read_id(request: web.Request) -> str:
    """Return the ID in the path. Raises NotFound for a text that is no ID."""
    token_id = request.match_info["id"]
    if not is_id(token_id):
        raise NotFound("token_unknown", "There is no such token.")
    return token_id
