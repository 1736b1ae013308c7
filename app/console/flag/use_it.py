"""The tab Use it: programs that evaluate the flag, and the wait for its first evaluation."""

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from app.console.flag.fragments import flag_part
from app.console.flag.snippets import snippets
from app.console.flag.views import require_flag
from app.console.rendering import page
from app.console.state import read_state
from app.errors import Unavailable
from app.flags.handlers import USAGE
from app.flags.usage_report import read_flag_use
from app.http.keys import DATABASE
from app.http.service_address import service_address


@dataclass(frozen=True, kw_only=True)
class FirstEvaluation:
    """`count` is the number of evaluations, None while the database cannot be read."""

    count: int | None
    last: datetime | None

    @property
    def is_seen(self) -> bool:
        return bool(self.count)


async def get_use_it(request: web.Request) -> web.Response:
    """Show programs that evaluate the flag."""
    state = await read_state(request)
    entry = require_flag(state.snapshot, request.match_info["key"])
    return flag_part(
        request,
        state,
        entry,
        "use",
        "flag/use/content.html",
        snippets=list(snippets(entry.key, entry.value, service_address(request))),
        seen=await _first_evaluation(request, entry.key),
    )


async def get_first_evaluation(request: web.Request) -> web.Response:
    """Return whether the flag was evaluated. Until then, the fragment asks again every 2 s."""
    key = request.match_info["key"]
    return page(
        request,
        "flag/use/first_evaluation.html",
        state=await read_state(request),
        key=key,
        seen=await _first_evaluation(request, key),
    )


async def _first_evaluation(request: web.Request, key: str) -> FirstEvaluation:
    """Look in the memory of this process first: the table follows within a minute."""
    environment = request.match_info["environment"]
    waiting = request.app[USAGE].waiting(environment, key)
    try:
        async with request.app[DATABASE].connection() as connection:
            outcomes = await read_flag_use(connection, environment, key)
    except Unavailable:
        return FirstEvaluation(count=waiting or None, last=None)
    count = waiting + sum(outcome.count for outcome in outcomes)
    last = max((outcome.last_evaluated_at for outcome in outcomes), default=None)
    return FirstEvaluation(count=count, last=None if waiting else last)
