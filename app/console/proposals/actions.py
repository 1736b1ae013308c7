"""The buttons of a proposal's page."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from app.configuration.changes.write_options import check_publish
from app.configuration.proposals import steps
from app.configuration.proposals.handlers import read_id
from app.configuration.proposals.requests import TEXT_MAX, ProposalSchedule
from app.configuration.proposals.views import ProposalView
from app.console.entry_pages import read_version
from app.console.forms import Form, read_form
from app.console.pages import redirect
from app.console.proposals.handlers import proposal_page
from app.console.rendering import frame
from app.console.state import with_zone
from app.errors import AppError, invalid
from app.http.conditions import ExpectedVersion

Step = Callable[[web.Request, int, Form, ExpectedVersion], Awaitable[ProposalView]]
# Of these, the text must give the reason, or is all that there is.
_NEED_TEXT = {"reject", "comment", "emergency"}


async def _schedule(
    request: web.Request, id_: int, form: Form, expected: ExpectedVersion
) -> ProposalView:
    schedule = ProposalSchedule(apply_at=_moment(form.get("apply_at", "")))
    return await steps.schedule(request, id_, schedule, expected=expected)


async def _unschedule(
    request: web.Request, id_: int, _form: Form, expected: ExpectedVersion
) -> ProposalView:
    return await steps.schedule(request, id_, ProposalSchedule(apply_at=None), expected=expected)


async def _apply_in_emergency(
    request: web.Request, id_: int, form: Form, expected: ExpectedVersion
) -> ProposalView:
    check_publish(request)
    return await steps.apply(request, id_, _text(form), expected=expected, emergency=True)


_STEPS: dict[str, Step] = {
    "approve": lambda r, id_, form, seen: steps.approve(r, id_, _text(form), expected=seen),
    "reject": lambda r, id_, form, _: steps.reject(r, id_, _text(form)),
    "comment": lambda r, id_, form, _: steps.comment(r, id_, _text(form)),
    "submit": lambda r, id_, form, _: steps.submit(r, id_, _text(form)),
    "withdraw": lambda r, id_, form, _: steps.withdraw(r, id_, _text(form)),
    "schedule": _schedule,
    "unschedule": _unschedule,
    "apply": lambda r, id_, form, seen: steps.apply(r, id_, _text(form), expected=seen),
    "emergency": _apply_in_emergency,
}
ACTIONS = tuple(_STEPS)


async def post_action(request: web.Request) -> web.Response:
    """Run a step of a proposal, and show its page again."""
    form, action = await read_form(request), request.match_info["action"]
    id_ = read_id(request)
    try:
        text = _text(form)
        if len(text) > TEXT_MAX:
            raise invalid("text", f"must have at most {TEXT_MAX:,} characters")
        if action in _NEED_TEXT and not text:
            raise invalid("text", "must not be empty")
        await _STEPS[action](request, id_, form, ExpectedVersion(version=read_version(form)))
    except AppError as error:
        typed = {name: form.get(name, "") for name in ("text", "apply_at")}
        return await proposal_page(request, error, action=action, **typed)
    return redirect(frame(request).url_of("proposals", str(id_)))


def _text(form: Form) -> str:
    return form.get("text", "").strip()


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(with_zone(text))
    except ValueError:
        raise invalid("apply_at", "must be a date and a time") from None
    if moment > datetime.now(UTC) + timedelta(days=366 * 5):
        raise invalid("apply_at", "must be within five years")
    return moment
