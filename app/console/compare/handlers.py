"""The pages that compare two environments or two moments, and promote keys."""

from contextlib import suppress
from typing import Any

from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.access.models import Scope
from app.access.permissions import Keys
from app.configuration.changes import plans, writes
from app.configuration.changes.differences import between_environments, between_revisions
from app.configuration.changes.past import Moment, revision_of
from app.configuration.changes.views import AppliedChangeSets, Difference
from app.configuration.snapshots.reading import FOLLOWER, load_snapshot
from app.console.changes.views import ChangeSetDetails, difference_details, planned_details
from app.console.confirmation import FIELD
from app.console.emergency import read_authority
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import redirect
from app.console.rendering import frame, page
from app.console.save_effect import effect_of
from app.console.saving import check_grant, check_message, write
from app.console.state import read_moment
from app.database import Connection
from app.errors import AppError, Invalid, invalid
from app.flags.change_words.sentences import Tense
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from app.threads import in_turn

_PAGE_SIZE = 50


async def get_compare(request: web.Request) -> web.Response:
    """Show what a promotion would change in `against`, or compare two moments (`from`, `to`)."""
    environment = request.match_info["environment"]
    request.app[FOLLOWER].require(environment)
    against = request.query.get("against", "")
    before, after = read_moment(request, "from_at", "from"), read_moment(request, "to_at", "to")
    keys = readable_keys(request)
    if against:
        check_grant(request, against, Scope.READ)
        keys &= readable_keys(request, against)
    data: dict[str, Any] = {"against": against, "details": None, "next_after": None}
    data["is_limited"] = not keys.is_all
    if against or before is not None:
        difference, revisions = await _difference(
            request, environment, against, before, after, keys=keys
        )
        tense = Tense.PLANNED if against else Tense.PAST
        details = await in_turn("words", lambda: difference_details(difference, tense))
        data |= {"details": details, "next_after": difference.next, "revisions": revisions}
    return page(request, "compare/compare.html", **data)


async def post_promote(request: web.Request) -> web.Response:
    """Show what a promotion of keys would write, and write it when the form says so."""
    form = await read_form(request)
    keys, source = form.getall("key", []), form.get("source", "")
    is_confirmed, around = form.get("step") == "write", frame(request)
    if not keys and source in {environment.name for environment in around.environments}:
        target = request.match_info["environment"]
        address = around.url_of("environments", source, "compare", against=target, chosen="none")
        return redirect(address)
    try:
        check_message(form.get("message", ""))
        planned = await _promote(request, form, source, keys, dry_run=not is_confirmed)
    except AppError as error:
        details, status = None, shown_status(request, error)
        if isinstance(error, Invalid):
            with suppress(AppError):
                planned = await _promote(request, form, source, keys, dry_run=True)
                details = await in_turn("words", lambda: planned_details(planned))
        return await _plan_page(
            request, form, details=details, errors=FormErrors.of(error), status=status
        )
    if is_confirmed and planned.change_sets:
        revision = planned.change_sets[0].revision
        return redirect(around.url("changes", str(revision), saved=revision))
    details = await in_turn("words", lambda: planned_details(planned))
    return await _plan_page(request, form, details=details)


async def _difference(
    request: web.Request,
    environment: str,
    against: str,
    before: Moment | None,
    after: Moment | None,
    *,
    keys: Keys,
) -> tuple[Difference, tuple[int, int] | None]:
    """Return a page of the difference, and the revisions of two moments."""
    position: dict[str, Any] = {
        "keys": keys,
        "after_key": request.query.get("after", ""),
        "limit": _PAGE_SIZE,
    }
    async with request.app[DATABASE].connection() as connection:
        if against:
            difference = await between_environments(connection, against, environment, **position)
            return difference, None
        first = await revision_of(connection, environment, 0 if before is None else before)
        last = request.app[FOLLOWER].require(environment).revision
        if after is not None:
            last = await revision_of(connection, environment, after)
        difference = await between_revisions(connection, environment, first, last, **position)
    return difference, (first, last)


async def _promote(
    request: web.Request, form: Form, source: str, keys: list[str], *, dry_run: bool
) -> AppliedChangeSets:
    if not keys:
        raise invalid("key", "must be chosen: choose at least one key")
    check_grant(request, source, Scope.READ)
    target, caller = request.match_info["environment"], request[CALLER]
    message = form.get("message", "").strip()
    authority = read_authority(request, message, dry_run=dry_run)

    async def work(connection: Connection) -> AppliedChangeSets:
        plan = await plans.promote(connection, source, target, keys, rights=caller.rights)
        return await writes.apply_plan(
            connection,
            plan,
            actor=caller.actor,
            message=message,
            vault=request.app[VAULT],
            authority=authority,
        )

    return await write(request, work, confirmation=form, dry_run=dry_run)


async def _plan_page(
    request: web.Request,
    form: Form,
    *,
    details: ChangeSetDetails | None = None,
    errors: FormErrors | None = None,
    status: int = 200,
) -> web.Response:
    keys = form.getall("key", [])
    target = await load_snapshot(request, request.match_info["environment"])
    return page(
        request,
        "compare/promotion.html",
        status=status,
        source=form.get("source", ""),
        keys=keys,
        save=effect_of(request[CALLER].rights, target.environment, keys, target.rules),
        message=form.get("message", ""),
        typed=form.get(FIELD, ""),
        details=details,
        errors=errors or FormErrors(),
    )
