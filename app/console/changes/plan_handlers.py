"""The pages that write changes back: revert a change set, and restore an earlier state.

Each first shows what it would write, by a dry run. Only the button of that page writes.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.access.permissions import ALL_KEYS, Keys
from app.access.sessions.cookie import safe_next
from app.configuration.changes import history, plans, writes
from app.configuration.changes.authority import PROPERTIES
from app.configuration.changes.models import Operation
from app.configuration.changes.views import AppliedChangeSets, KeyChange
from app.configuration.snapshots.reading import own_snapshot
from app.console.changes.extent import Extent, extent_of
from app.console.changes.views import ChangeSetRow, key_change_row, planned_details
from app.console.emergency import read_authority
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.console.save_effect import SaveEffect, effect_of
from app.console.saving import check_message, write
from app.database import Connection
from app.errors import AppError, Forbidden, NotFound, Stale
from app.http.keys import DATABASE
from app.names import is_stored_key
from app.secrets.reveal import VAULT
from app.threads import in_turn

Plan = Callable[[Connection], Awaitable[plans.ChangePlan]]

_CONFLICTS_MAX = 5
_LATER_CHANGES_MAX = 5


@dataclass(frozen=True, kw_only=True)
class WriteBack:
    """A revert or a restore: the plan, and the words of its page.

    `is_narrowed`: it changes own keys alone. `reverted`: the revision that a revert undoes.
    """

    plan: Plan
    is_narrowed: bool
    title: str
    action: str
    default_message: str
    nothing: str
    reverted: int | None = None


@dataclass(frozen=True, kw_only=True)
class KeyConflict:
    """A key that was changed again, with its later changes."""

    key: str
    rows: Sequence[ChangeSetRow]


async def get_revert(request: web.Request) -> web.Response:
    """Show what the revert of a change set would write."""
    return await _show(request, _revert(request))


async def post_revert(request: web.Request) -> web.Response:
    """Revert a change set, and lead to the new one or to the page of `next`."""
    return await _write(request, _revert(request))


async def get_restore(request: web.Request) -> web.Response:
    """Show what it would write to restore the environment to a revision."""
    return await _show(request, _restore(request))


async def post_restore(request: web.Request) -> web.Response:
    """Restore the environment to a revision, and lead to the new change set."""
    return await _write(request, _restore(request))


def _revert(request: web.Request) -> WriteBack:
    environment, revision = request.match_info["environment"], _revision(request)
    is_narrowed, only = _only(request)
    return WriteBack(
        plan=lambda c: plans.revert(
            c, environment, revision, keys=readable_keys(request), only=only
        ),
        is_narrowed=is_narrowed,
        title=f"Revert revision {revision}",
        action="Revert",
        default_message=f"Revert revision {revision}",
        nothing="Everything is already as it was before this change set.",
        reverted=revision,
    )


def _restore(request: web.Request) -> WriteBack:
    environment, revision = request.match_info["environment"], _revision(request)
    is_narrowed, only = _only(request)
    return WriteBack(
        plan=lambda c: plans.restore(c, environment, revision, only=only),
        is_narrowed=is_narrowed,
        title=f"Restore {environment} to revision {revision}",
        action="Restore",
        default_message=f"Restore revision {revision}",
        nothing=f"The environment is already as it was at revision {revision}.",
    )


def _only(request: web.Request) -> tuple[bool, Keys]:
    """Return whether the page is for the keys of the caller alone, and the keys to change."""
    if "own" not in request.query:
        return False, ALL_KEYS
    return True, plans.own_keys(request[CALLER].rights, request.match_info["environment"])


async def _show(request: web.Request, write_back: WriteBack) -> web.Response:
    next_ = request.query.get("next", "")
    try:
        effect = await _effect(request, write_back)
    except (Stale, Forbidden) as error:
        # A conflict is an answer to the question of this page.
        status = 200 if isinstance(error, Stale) else shown_status(request, error)
        return await _refused(request, write_back, error, next_=next_, status=status)
    return await _page(request, write_back, **effect, next=next_)


async def _effect(request: web.Request, write_back: WriteBack) -> dict[str, Any]:
    """Return what would be written, for `_page`. Raises as a dry run of it."""
    planned, operations = await _apply(request, write_back, "")
    snapshot = own_snapshot(request, request.match_info["environment"])
    return {
        "planned": planned,
        "extent": await in_turn("extent", lambda: extent_of(operations, snapshot)),
        "save": _save_effect(request, [operation.key for operation in operations], planned),
    }


async def _write(request: web.Request, write_back: WriteBack) -> web.Response:
    form = await read_form(request)
    message, next_ = form.get("message", "").strip(), form.get("next", "")
    fields = {"message": message, "typed": form.get("confirmation", "")}
    try:
        check_message(message)
        written, _ = await _apply(request, write_back, message, confirmation=form)
    except AppError as error:
        if frame(request).environment is None:
            # There is none of this name, and so no page to show again.
            raise
        status = shown_status(request, error)
        return await _refused(request, write_back, error, next_=next_, status=status, **fields)
    around = frame(request)
    if not written.change_sets:
        return await _page(request, write_back, planned=written, next=next_)
    revision = written.change_sets[0].revision
    saved = {"saved": revision, "reverted": write_back.reverted}
    if not next_:
        return redirect(around.url("changes", str(revision), **saved))
    target = safe_next(next_, around.root)
    query = urlencode({name: value for name, value in saved.items() if value is not None})
    return redirect(f"{target}{'&' if '?' in target else '?'}{query}")


async def _apply(
    request: web.Request, write_back: WriteBack, message: str, confirmation: Form | None = None
) -> tuple[AppliedChangeSets, Sequence[Operation]]:
    """Return the changes, and the operations of the plan: a dry run without a confirmation."""
    dry_run = confirmation is None
    actor, vault = request[CALLER].actor, request.app[VAULT]
    authority = read_authority(request, message, dry_run=dry_run)
    operations: Sequence[Operation] = ()

    async def work(connection: Connection) -> AppliedChangeSets:
        nonlocal operations
        plan = await write_back.plan(connection)
        operations = plan.intent.operations
        return await writes.apply_plan(
            *(connection, plan),
            actor=actor,
            message=message,
            vault=vault,
            authority=authority,
            is_dry_run=dry_run,
        )

    written = await write(request, work, confirmation=confirmation, dry_run=dry_run)
    return written, operations


async def _refused(
    request: web.Request,
    write_back: WriteBack,
    error: AppError,
    *,
    message: str = "",
    typed: str = "",
    next_: str,
    status: int,
) -> web.Response:
    stale = error if isinstance(error, Stale) else None
    effect: dict[str, Any] = {"save": frame(request).save_of(None)}
    if stale is None and not isinstance(error, Forbidden):
        with suppress(AppError):
            effect = await _effect(request, write_back)
    conflicts = await _conflicts(request, stale) if stale else []
    return await _page(
        request,
        write_back,
        **effect,
        errors=FormErrors.of(error),
        is_foreign=error.code == "key_foreign",
        conflicts=conflicts,
        conflicts_count=len(stale.violations) if stale else 0,
        message=message,
        typed=typed,
        next=next_,
        status=status,
    )


async def _conflicts(request: web.Request, error: Stale) -> list[KeyConflict]:
    """Return the later changes of the first keys that were changed again."""
    environment, revision = request.match_info["environment"], _revision(request)
    readable = readable_keys(request)
    later: dict[str, list[KeyChange]] = {}
    async with request.app[DATABASE].connection() as connection:
        for violation in error.violations[:_CONFLICTS_MAX]:
            key = violation.field
            if not is_stored_key(key) or key not in readable:
                continue
            try:
                changes = await history.key_history(
                    connection, environment, key, limit=_LATER_CHANGES_MAX
                )
            except NotFound:
                continue
            later[key] = [change for change in changes.items if change.revision > revision]
    return await in_turn("words", lambda: [_conflict(request, *item) for item in later.items()])


def _conflict(request: web.Request, key: str, changes: Sequence[KeyChange]) -> KeyConflict:
    return KeyConflict(key=key, rows=[key_change_row(request, key, change) for change in changes])


async def _page(
    request: web.Request,
    write_back: WriteBack,
    *,
    planned: AppliedChangeSets | None = None,
    status: int = 200,
    **data: Any,
) -> web.Response:
    """Return the page with what would be written, or with the errors and conflicts of `data`."""
    details = None
    if planned is not None:
        details = await in_turn("words", lambda: planned_details(planned))
    shown: dict[str, Any] = {"errors": FormErrors(), "conflicts": (), "conflicts_count": 0}
    shown |= {"is_foreign": False, "message": "", "typed": "", "extent": Extent(), "save": None}
    return page(
        request,
        "changes/write_back.html",
        status=status,
        write_back=write_back,
        details=details,
        is_refused=status != 200,
        revision=_revision(request),
        **shown | data,
    )


def _save_effect(
    request: web.Request, keys: Sequence[str], planned: AppliedChangeSets
) -> SaveEffect:
    has_properties = any(item.properties is not None for item in planned.change_sets)
    snapshot = own_snapshot(request, request.match_info["environment"])
    return effect_of(
        request[CALLER].rights,
        snapshot.environment,
        [*keys, PROPERTIES] if has_properties else keys,
        snapshot.rules,
    )


def _revision(request: web.Request) -> int:
    return int(request.match_info["revision"])
