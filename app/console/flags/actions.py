"""Actions on several flags: a page that lists the changes, then one change set."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from multidict import MultiMapping

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.refusals import key_foreign
from app.configuration.changes import writes
from app.configuration.changes.requests import OPERATIONS_MAX
from app.configuration.changes.views import AppliedChangeSets
from app.configuration.snapshots.reading import FOLLOWER, load_snapshot, own_snapshot
from app.configuration.snapshots.snapshot import Snapshot
from app.console.confirmation import FIELD
from app.console.emergency import read_authority
from app.console.flags.bulk import (
    BulkPlan,
    FlagAction,
    bulk_plan_of,
    plan_edits,
    plan_promotion,
    promotion,
)
from app.console.flags.export import EXPORT_FORMATS, export_flags
from app.console.flags.filters import FlagFilter, read_filter
from app.console.flags.listing import read_matching
from app.console.forms import Form, FormErrors, read_form, shown_status
from app.console.pages import is_fragment, redirect, redirect_to
from app.console.rendering import Frame, frame, page
from app.console.save_effect import effect_of
from app.console.saving import check_grant, check_message, save, write
from app.console.state import EnvironmentState
from app.database import Connection
from app.environments.models import Environment
from app.errors import AppError, Forbidden, Unauthenticated, invalid
from app.names import counted
from app.secrets.reveal import VAULT
from app.threads import in_turn

# Below the limit of 8,190 bytes for a request line, with room for a path prefix.
_URL_MAX = 6_000
_VERBS = {
    FlagAction.SWITCH_OFF: "Switch off",
    FlagAction.SWITCH_ON: "Switch on",
    FlagAction.PROMOTE: "Promote",
    FlagAction.EXPORT: "Export",
    FlagAction.DELETE: "Delete",
}


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """A posted action: the flags, the environment that it changes, and the list to return to."""

    action: FlagAction
    keys: Sequence[str]
    source: Snapshot
    target: Environment
    chosen: FlagFilter

    @property
    def title(self) -> str:
        flags = self.keys[0] if len(self.keys) == 1 else counted(len(self.keys), "flag")
        return f"{_VERBS[self.action]} {flags}"


async def post_flag_actions(request: web.Request) -> web.Response:
    """Lead to the review of an action, or make the changes that were reviewed."""
    form, around = await read_form(request), frame(request)
    selection = await _read_selection(request, around, form)
    if form.get("step") != "apply":
        address = _review_address(around, form)
        # A selection that is too long for a URL has a review without one.
        if address:
            return redirect(address)
        return await _review(request, around, selection, message=form.get("message", ""))
    if selection.action is FlagAction.EXPORT:
        return await export_flags(request, selection.source, selection.keys, form)
    try:
        location = await _apply(request, around, selection, form)
    except (Forbidden, Unauthenticated):
        raise
    except AppError as error:
        return await _review(
            request,
            around,
            selection,
            status=shown_status(request, error),
            errors=FormErrors.of(error),
            message=form.get("message", ""),
            typed=form.get(FIELD, ""),
        )
    return redirect_to(request, location)


async def get_flag_actions(request: web.Request) -> web.Response:
    """Show what an action would change."""
    around = frame(request)
    selection = await _read_selection(request, around, request.query)
    message = request.query.get("message", "")
    response = await _review(request, around, selection, message=message)
    if is_fragment(request):  # another target was chosen, which a reload must show too
        response.headers["HX-Replace-Url"] = f"{around.root}{request.rel_url}"
    return response


def _review_address(around: Frame, form: Form) -> str | None:
    """Return the URL of the review, None if it is too long."""
    names = {
        "action",
        "target",
        "filter",
        "message",
        "all" if form.get("all") == "true" else "flag",
    }
    fields = [(name, value) for name, value in form.items() if name in names and value]
    address = f"{around.url('flag-actions')}?{urlencode(fields)}"
    return address if len(address) <= _URL_MAX else None


async def _read_selection(
    request: web.Request, around: Frame, form: MultiMapping[str]
) -> _Selection:
    """Read the fields of a form or of a URL. Raises Invalid, Forbidden, NotFound."""
    name = request.match_info["environment"]
    if form.get("action") not in set(FlagAction):
        raise invalid("action", f"must be one of {', '.join(FlagAction)}")
    action = FlagAction(form["action"])
    source = own_snapshot(request, name)
    target = source.environment
    if action is FlagAction.PROMOTE:
        others = _targets(around, name)
        wanted = form.get("target") or (others[0].name if others else "")
        if wanted == name:
            raise invalid("target", "must be another environment")
        check_grant(request, wanted, Scope.PROPOSE)
        target = request.app[FOLLOWER].require(wanted)
    elif action is not FlagAction.EXPORT:
        check_grant(request, name, Scope.PROPOSE)
    chosen = read_filter(dict(parse_qsl(form.get("filter", ""))))
    keys = sorted(set(form.getall("flag", [])))
    if form.get("all") == "true":
        keys = sorted(flag.key for flag in await read_matching(request, source, around, chosen))
    if foreign := [key for key in keys if key not in source.limits]:
        raise key_foreign(Scope.READ, foreign[0], source.limits)
    if not 1 <= len(keys) <= OPERATIONS_MAX:
        raise invalid("flag", f"must name 1 to {OPERATIONS_MAX} flags")
    return _Selection(action=action, keys=keys, source=source, target=target, chosen=chosen)


def _targets(around: Frame, source: str) -> list[Environment]:
    """Return the environments to promote to: first those after the source, in order of tiers."""
    names = [environment.name for environment in around.environments]
    at = names.index(source) if source in names else 0
    return [*around.environments[at + 1 :], *around.environments[:at]]


async def _plan(request: web.Request, selection: _Selection) -> BulkPlan:
    name, keys = selection.source.environment.name, selection.keys
    if selection.action is FlagAction.PROMOTE:
        return await plan_promotion(request, name, selection.target.name, keys)
    return await plan_edits(request, selection.source, selection.action, keys)


async def _apply(request: web.Request, around: Frame, selection: _Selection, form: Form) -> str:
    """Write the reviewed changes, and return the address of the list. Raises AppError."""
    target, tokens = selection.target, form.getall("reviewed", [])
    message = form.get("message", "") or selection.title
    check_message(message)
    if selection.action is FlagAction.PROMOTE:
        written = await _promote(request, selection, tokens, form)
    else:
        plan = await _plan(request, selection)
        plan.check_reviewed(tokens)
        written = await save(request, plan.operations(), message, confirmation=form)
    revision = next(
        (item.revision for item in written.change_sets if item.environment == target.name), None
    )
    query = selection.chosen.parameters
    return around.url_in(target.name, "flags", **{**query, "saved": revision})


async def _promote(
    request: web.Request, selection: _Selection, tokens: Sequence[str], form: Form
) -> AppliedChangeSets:
    source, target = selection.source.environment.name, selection.target.name
    snapshot = await load_snapshot(request, target)
    actor, vault = request[CALLER].actor, request.app[VAULT]
    message = form.get("message", "")
    authority = read_authority(request, message)

    async def work(connection: Connection) -> AppliedChangeSets:
        plan = await promotion(request, connection, source, target, selection.keys)
        planned = await in_turn("plan", lambda: bulk_plan_of(plan, snapshot, selection.keys))
        planned.check_reviewed(tokens)
        return await writes.apply_plan(
            connection, plan, actor=actor, message=message, vault=vault, authority=authority
        )

    return await write(request, work, confirmation=form)


async def _review(
    request: web.Request,
    around: Frame,
    selection: _Selection,
    *,
    status: int = 200,
    errors: FormErrors | None = None,
    message: str = "",
    typed: str = "",
) -> web.Response:
    plan = save = None
    if selection.action is not FlagAction.EXPORT:
        plan = await in_turn("words", (await _plan(request, selection)).describe)
        target = await load_snapshot(request, selection.target.name)
        keys = [change.key for change in plan.changes]
        save = effect_of(request[CALLER].rights, target.environment, keys, target.rules)
    return page(
        request,
        "flags/_review.html" if is_fragment(request) else "flags/review.html",
        state=EnvironmentState(snapshot=selection.source),
        status=status,
        action=selection.action,
        title=selection.title,
        verb=_VERBS[selection.action],
        keys=selection.keys,
        plan=plan,
        target=selection.target,
        targets=_targets(around, selection.source.environment.name),
        save=save,
        typed=typed,
        back=around.url("flags", **selection.chosen.parameters),
        filter_query=selection.chosen.query,
        formats=EXPORT_FORMATS,
        errors=errors,
        message=message,
    )
