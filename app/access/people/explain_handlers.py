"""The endpoints that say who may do what where, and why."""

from aiohttp import web

from app.access.guard import CALLER, TOKENS
from app.access.models import Scope
from app.access.people import caller_rights, explain
from app.access.people.explain import Question
from app.environments import service as environments
from app.errors import malformed
from app.http import wire
from app.http.keys import DATABASE
from app.names import ENVIRONMENT_RULE, KEY_RULE, is_environment, is_stored_key


async def list_who_may(request: web.Request) -> web.Response:
    """List every principal that may use a scope for a key.

    Each has its reasons. `after` and `limit` are for the people; groups and tokens are complete.
    """
    query = wire.read_query(request, {"scope", "environment", "key", "after", "limit"})
    question, key = _question(query), request.app[TOKENS].key

    await request.app[TOKENS].refresh()
    async with request.app[DATABASE].connection() as connection:
        explain.check_question(request[CALLER].rights, question)
        await environments.get(connection, question.environment)
        answer = await explain.who_may(
            *(connection, key, request.app[TOKENS].people.book),
            *(request[CALLER].rights, question),
            after=query.get("after", ""),
            limit=wire.page_size(query),
        )

    return wire.answer(answer)


async def check_access(request: web.Request) -> web.Response:
    """Check whether an actor may use a scope for a key.

    The answer says why. `actor` is `person:ID`, `token:ID`, `group:NAME` or `operator:NAME`.
    """
    query = wire.read_query(request, {"actor", "scope", "environment", "key"})
    question = _question(query)
    if "actor" not in query:
        raise malformed("actor", "must be given")
    key = request.app[TOKENS].key

    await request.app[TOKENS].refresh()
    async with request.app[DATABASE].connection() as connection:
        explain.check_question(request[CALLER].rights, question)
        await environments.get(connection, question.environment)
        answer = await explain.check(
            *(connection, key, request.app[TOKENS].people.book),
            *(request[CALLER].rights, question),
            actor=query["actor"],
        )

    return wire.answer(answer)


async def get_me(request: web.Request) -> web.Response:
    """Read who the caller is, and what it may do."""
    wire.read_query(request, set())
    caller = request[CALLER]

    async with request.app[DATABASE].connection() as connection:
        answer = await caller_rights.me(connection, caller, caller.rights.grants)

    return wire.answer(answer)


def _question(query: dict[str, str]) -> Question:
    """Return the question of the query. Raises Malformed, naming the parameter."""
    for name in ("scope", "environment", "key"):
        if name not in query:
            raise malformed(name, "must be given")
    scope = wire.choice(query, "scope", Scope)
    assert scope is not None  # noqa: S101 - for mypy: it is given
    if not is_environment(query["environment"]):
        raise malformed("environment", ENVIRONMENT_RULE)
    if not is_stored_key(query["key"]):
        raise malformed("key", KEY_RULE)
    return Question(scope=scope, environment=query["environment"], key=query["key"])
