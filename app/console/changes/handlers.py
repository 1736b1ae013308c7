"""The pages of the history: all changes, one change set with its effect, one key's changes."""

import time

from aiohttp import web

from app.access.guard import readable_keys
from app.configuration.changes import history
from app.configuration.snapshots.reading import FOLLOWER
from app.console.actors import actor_of
from app.console.changes.effect import Effect, changed_rules, effect_of
from app.console.changes.filters import ChangeFilters
from app.console.changes.views import (
    change_set_details,
    change_set_row,
    key_change_row,
    page_of_key,
)
from app.console.pages import is_fragment
from app.console.rendering import page
from app.console.state import PAST_STATES, EnvironmentState, read_state
from app.errors import Unavailable
from app.http import wire
from app.http.keys import DATABASE
from app.threads import in_thread, in_turn

_PAGE_SIZE = 30
# Keys of a change set on one page.
_KEYS_MAX = 50
# Keys whose effect is counted.
_EFFECT_KEYS_MAX = 100
# Keys of a summary.
_SUMMARY_KEYS_MAX = 3


async def get_changes(request: web.Request) -> web.Response:
    """List the change sets of an environment, the latest first."""
    state, keys = await read_state(request), readable_keys(request)
    filters = ChangeFilters.read(request)
    async with request.app[DATABASE].connection() as connection:
        change_sets = await history.list_change_sets(
            connection,
            _environment(request),
            keys=keys,
            before=_before(request, state),
            limit=_PAGE_SIZE,
            matching=filters.matching,
        )
        actors = await history.list_actors(connection, _environment(request), keys=keys)
    # Large values take long to compare.
    rows = await in_thread(
        "words", lambda: [change_set_row(request, item) for item in change_sets.items]
    )
    authors = sorted(
        (actor_of(request, actor, name) for actor, name in actors.items()),
        key=lambda author: (author.name, author.id),
    )
    return page(
        request,
        "changes/list.html",
        state=state,
        rows=rows,
        filters=filters,
        authors=authors,
        next_before=change_sets.next,
    )


async def get_change_set(request: web.Request) -> web.Response:
    """Show one change set: who, when, why, and each key in words and as JSON."""
    state = await read_state(request)
    after = request.query.get("after", "")
    async with request.app[DATABASE].connection() as connection:
        change_set = await history.get_change_set(
            connection,
            _environment(request),
            _revision(request),
            keys=readable_keys(request),
            after=after,
            limit=_KEYS_MAX,
        )
    row, details = await in_turn(
        "words", lambda: (change_set_row(request, change_set), change_set_details(change_set))
    )
    return page(
        request,
        "changes/change_set.html",
        state=state,
        row=row,
        details=details,
        next_after=change_set.next,
        is_first_page=not after,
        has_clock=False,
        has_rules=bool(changed_rules(change_set)),
        latest_revision=request.app[FOLLOWER].require(_environment(request)).revision,
    )


async def get_summary(request: web.Request) -> web.Response:
    """Get a change set in a few words, or its author, as a part of another page.

    While the database is away it is empty: the other page can be read without it.
    """
    try:
        async with request.app[DATABASE].connection() as connection:
            change_set = await history.get_change_set(
                connection,
                _environment(request),
                _revision(request),
                keys=readable_keys(request),
                limit=_SUMMARY_KEYS_MAX,
            )
    except Unavailable:
        return web.Response(status=204)
    row = await in_turn("words", lambda: change_set_row(request, change_set))
    return page(request, "changes/summary.html", row=row, part=request.query.get("part"))


async def get_effect(request: web.Request) -> web.Response:
    """Show how many of 10,000 keys one change set gives another outcome, for each flag.

    Only the keys of the caller are counted: their changes, and the effect on their flags.
    """
    environment, revision = _environment(request), _revision(request)
    keys, database = readable_keys(request), request.app[DATABASE]
    async with database.connection() as connection:
        change_set = await history.get_change_set(
            connection, environment, revision, keys=keys, limit=_EFFECT_KEYS_MAX
        )
    contents = changed_rules(change_set)
    effect = Effect(flags=[], flags_count=0, is_complete=True)
    if contents:
        before = await request.app[PAST_STATES].read(database, environment, revision - 1)
        now = int(time.time())
        effect = await in_turn("effect", lambda: effect_of(before, contents, keys, now))
    name = "_effect.html" if is_fragment(request) else "effect.html"
    return page(request, f"changes/{name}", effect=effect, revision=revision)


async def get_key_history(request: web.Request) -> web.Response:
    """List the changes of one key, as a page or as the part of another page."""
    state = await read_state(request)
    key = request.match_info["key"]
    async with request.app[DATABASE].connection() as connection:
        changes = await history.key_history(
            connection,
            _environment(request),
            key,
            before=_before(request, state),
            limit=_PAGE_SIZE,
        )
    rows = await in_thread(
        "words", lambda: [key_change_row(request, key, change) for change in changes.items]
    )
    name = "_key_history.html" if is_fragment(request) else "key_history.html"
    return page(
        request,
        f"changes/{name}",
        state=state,
        key=key,
        rows=rows,
        next_before=changes.next,
        entry_page=page_of_key(changes.items),
    )


def _environment(request: web.Request) -> str:
    return request.match_info["environment"]


def _revision(request: web.Request) -> int:
    return int(request.match_info["revision"])


def _before(request: web.Request, state: EnvironmentState) -> int:
    """Return the revision before which to list. The past has no later ones."""
    before = wire.before(request.query)
    return before if state.moment is None else min(before, state.snapshot.revision + 1)
