"""The page of a segment that is a list."""

from dataclasses import dataclass, field

from aiohttp import web

from app.configuration.lists import reading
from app.configuration.lists.models import ListPage
from app.configuration.snapshots.snapshot import Configuration
from app.console.forms import Form, FormErrors, RefusedAction
from app.console.rendering import page
from app.console.segments.views import SegmentUser, users_of
from app.console.state import EnvironmentState
from app.errors import Unavailable
from app.evaluation.lists import list_reference
from app.http.keys import DATABASE

SHOWN_VALUES = 50
_NO_ERRORS = FormErrors()


@dataclass(frozen=True, kw_only=True)
class ListView:
    """A list and what was posted. `values` is None while the database is away.

    `searched` is the value of the search, None without one.
    """

    entry: Configuration
    count: int
    values: ListPage | None
    searched: str | None
    users: list[SegmentUser]
    form: Form = field(default_factory=Form)
    refused: RefusedAction | None = None


async def show_list(
    request: web.Request,
    state: EnvironmentState,
    entry: Configuration,
    *,
    errors: FormErrors = _NO_ERRORS,
    form: Form | None = None,
    refused: RefusedAction | None = None,
    status: int = 200,
) -> web.Response:
    """Show a list: its first values, or the value of the query."""
    reference = list_reference(entry.value)
    searched = request.query.get("value")
    shown = ListView(
        entry=entry,
        count=reference.count if reference is not None else 0,
        values=await _values(request, state, entry.key, searched),
        searched=searched,
        users=users_of(state.snapshot, entry.key),
        form=Form() if form is None else form,
        refused=refused,
    )
    return page(request, "lists/list.html", state=state, status=status, shown=shown, errors=errors)


async def _values(
    request: web.Request, state: EnvironmentState, key: str, searched: str | None
) -> ListPage | None:
    environment = state.snapshot.environment.name
    try:
        async with request.app[DATABASE].connection() as connection:
            list_ = await reading.find(connection, environment, key, state.moment)
            if searched is None:
                return await reading.page(connection, list_, after="", limit=SHOWN_VALUES)
            return await reading.lookup(connection, list_, searched)
    except Unavailable:
        return None
