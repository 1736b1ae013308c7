"""The outcome of a flag for a context, in the state that a proposal proposes."""

from aiohttp import web

from app.console.forms import read_form
from app.console.json_text import parse_json
from app.console.pages import is_fragment
from app.console.rendering import page
from app.errors import invalid
from app.flags.proposals.handlers import evaluate
from app.flags.proposals.views import ProposedEvaluationQuery
from app.flags.sampling import outcome_name
from app.http.decoder import CONTEXT_BYTES_MAX


async def post_context(request: web.Request) -> web.Response:
    """Evaluate a flag in the proposed state."""
    form = await read_form(request, CONTEXT_BYTES_MAX)
    context = parse_json(form.get("context", "") or "{}", "context")
    if not isinstance(context, dict):
        raise invalid("context", "must be an object")
    query = ProposedEvaluationQuery(
        flag=form.get("flag", ""), environment=form.get("environment") or None, context=context
    )
    explained, _ = await evaluate(request, query)
    outcome = explained.outcome
    return page(
        request,
        "proposals/_outcome.html" if is_fragment(request) else "proposals/outcome.html",
        flag=query.flag,
        variant=outcome_name(outcome),
        reason=outcome.reason or "",
        details=outcome.error_details or "",
    )
