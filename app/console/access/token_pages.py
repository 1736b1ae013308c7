"""The pages of tokens: list, create, rotate and revoke."""

from dataclasses import replace

from aiohttp import web

from app.access import tokens
from app.access.delegation import may_grant
from app.access.expiry import expiry
from app.access.format import GeneratedToken, is_id
from app.access.guard import CALLER, TOKENS
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope
from app.access.people.access_writes import edit_of
from app.access.sessions.cookie import safe_next
from app.access.token_handlers import read_id
from app.access.token_views import TokenView
from app.console.access.forms import EXPIRIES, GRACES, TokenForm, whole_number
from app.console.access.views import SCOPE_TEXTS, token_row, token_rows
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import Frame, frame, page
from app.database import Connection
from app.errors import AppError, Unavailable
from app.http.keys import DATABASE
from app.http.service_address import service_address

_READ_AT_ONCE = 500
_READ_MAX = 1_000
_SHOWN_MAX = 100


async def get_tokens(request: web.Request) -> web.Response:
    """List the tokens of the caller's environments, at most 1,000."""
    try:
        rows = token_rows(request, await _read_tokens(request))
    except Unavailable as error:
        return page(request, "access/tokens.html", status=503, rows=None, problem=error.message)
    shown = rows if "all" in request.query else rows[:_SHOWN_MAX]
    revoked = request.query.get("revoked", "")
    return page(
        request,
        "access/tokens.html",
        rows=shown,
        problem="",
        hidden=len(rows) - len(shown),
        revoked=revoked if is_id(revoked) else None,
    )


async def get_token(request: web.Request) -> web.Response:
    """Show a token, with the forms to rotate and to revoke it."""
    return await _details(request)


async def get_new_token(request: web.Request) -> web.Response:
    """Show the form of a new token, with what a link of the console chose."""
    chosen, own = TokenForm.of(request.query), request[CALLER].rights
    # An administrator of some keys cannot give more.
    limits = {prefix for _, prefix in own.prefixes(Scope.ADMIN)}
    return _form(
        request,
        replace(
            chosen,
            scopes=chosen.scopes or (Scope.EVALUATE,),
            prefix_lines=chosen.prefix_lines or "\n".join(sorted(limits)).strip(),
        ),
    )


async def post_new_token(request: web.Request) -> web.Response:
    """Create a token, and show its text this once."""
    form = TokenForm.of(await read_form(request))

    async def create(connection: Connection) -> GeneratedToken:
        scopes = form.granted_scopes
        grant = Grant(
            scopes=scopes,
            environments=frozenset(form.environments),
            prefixes=tokens.read_prefixes(form.prefixes),
            expires_at=expiry(scopes, expires_days=form.days),
        )
        return await tokens.create(edit_of(request, connection), name=form.name, grant=grant)

    try:
        new = await request.app[DATABASE].transact(create)
    except AppError as error:
        return _form(request, form, error)
    return await _show_text(request, new, replaced=None, next_=form.next)


async def post_rotation(request: web.Request) -> web.Response:
    """Replace a token, and show the text of the new one this once."""
    form, token_id = await read_form(request), read_id(request)

    async def rotate(connection: Connection) -> GeneratedToken:
        grace = whole_number("grace_seconds", form.get("grace_seconds", ""))
        return await tokens.rotate(edit_of(request, connection), token_id, grace_seconds=grace)

    try:
        new = await request.app[DATABASE].transact(rotate)
    except AppError as error:
        return await _details(request, form, error)
    return await _show_text(request, new, replaced=token_id)


async def post_revocation(request: web.Request) -> web.Response:
    """Revoke a token."""
    token_id = read_id(request)
    await request.app[DATABASE].transact(lambda c: tokens.revoke(edit_of(request, c), token_id))
    await request.app[TOKENS].refresh_if_possible()
    return redirect(frame(request).url_of("tokens", revoked=token_id))


async def _read_tokens(request: web.Request) -> list[TokenView]:
    views: list[TokenView] = []
    after: str | None = ""
    async with request.app[DATABASE].connection() as connection:
        while after is not None and len(views) < _READ_MAX:
            part = await tokens.list_page(
                connection, request[CALLER].rights, after=after, limit=_READ_AT_ONCE
            )
            views += part.items
            after = part.next
    return views


async def _details(
    request: web.Request, form: Form | None = None, error: AppError | None = None
) -> web.Response:
    async with request.app[DATABASE].connection() as connection:
        token = await tokens.find(connection, request[CALLER].rights, read_id(request))
    return page(
        request,
        "access/token.html",
        status=shown_status(request, error),
        row=token_row(request, token),
        graces=GRACES,
        grace=form.get("grace_seconds", "") if form is not None else "86400",
        errors=FormErrors.of(error) if error is not None else FormErrors(),
    )


def _form(request: web.Request, form: TokenForm, error: AppError | None = None) -> web.Response:
    own = request[CALLER].rights
    return page(
        request,
        "access/new_token.html",
        status=shown_status(request, error),
        form=form,
        scopes=[(scope, text) for scope, text in SCOPE_TEXTS.items() if may_grant(own, scope)],
        may_all_keys=own.has_all_keys([Scope.ADMIN], None),
        has_all=own.covers(Scope.ADMIN, EVERY_ENVIRONMENT),
        expiries=EXPIRIES,
        errors=FormErrors.of(error) if error is not None else FormErrors(),
    )


async def _show_text(
    request: web.Request, new: GeneratedToken, *, replaced: str | None, next_: str = ""
) -> web.Response:
    around = frame(request)
    # The token is valid here at once, and within a second elsewhere.
    await request.app[TOKENS].refresh_if_possible()
    async with request.app[DATABASE].connection() as connection:
        token = await tokens.get(connection, new.id)
        old = await tokens.get(connection, replaced) if replaced is not None else None
    return page(
        request,
        "access/token_text.html",
        text=new.text,
        token=token,
        old=old,
        evaluations=_evaluations(token, around),
        base=service_address(request),
        next=safe_next(next_, around.root) if next_ else "",
    )


def _evaluations(token: TokenView, around: Frame) -> str:
    """Return the path of OFREP, for a command that works as printed.

    A token for exactly one environment needs none in the path.
    """
    if len(token.environments) == 1 and token.environments != ["*"]:
        return "/ofrep/v1/evaluate/flags"
    names = [environment.name for environment in around.environments]
    covered = [name for name in token.environments if name in names]
    environment = (covered or names or ["ENVIRONMENT"])[0]
    return f"/v1/environments/{environment}/ofrep/v1/evaluate/flags"
