"""The pages that say why: who may do this, why may they, and what may I do."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.access.delegation import reaches
from app.access.guard import CALLER, TOKENS
from app.access.models import Scope
from app.access.people import caller_rights, explain, service
from app.access.people.explain import Question
from app.access.people.views import AccessCheck, WhoMay
from app.console.access.views import PERSON_SCOPE_TEXTS
from app.console.actors import NamedActor, actor_of
from app.console.forms import FormErrors, shown_status
from app.console.people.access import own_rights, read_current
from app.console.people.people_pages import all_people, held_rights
from app.console.people.rows import environment_words
from app.console.rendering import frame, page
from app.database import Connection
from app.environments import service as environments
from app.errors import AppError, invalid
from app.http.keys import DATABASE
from app.names import KEY_RULE, is_stored_key

# People who may do something, on one page.
_PEOPLE_MAX = 100


@dataclass(frozen=True, kw_only=True)
class CheckForm:
    """A question as it was typed. Without an actor: who may do this."""

    actor: str
    action: str
    environment: str
    key: str

    @property
    def question(self) -> Question:
        """The question. Raises Invalid, naming the field."""
        if self.action not in set(Scope):
            raise invalid("action", f"must be among {', '.join(PERSON_SCOPE_TEXTS)}")
        if not is_stored_key(self.key):
            raise invalid("key", KEY_RULE)
        return Question(scope=Scope(self.action), environment=self.environment, key=self.key)


async def get_access_check(request: web.Request) -> web.Response:
    """Answer whether a person, a token or a group may do something, or who may, with reasons."""
    around, query = frame(request), request.query
    form = CheckForm(
        actor=query.get("actor", "").strip(),
        action=query.get("action", Scope.WRITE),
        environment=query.get("environment", "")
        or (around.menu_environment.name if around.menu_environment is not None else ""),
        key=query.get("key", "").strip(),
    )
    answer: AccessCheck | None = None
    holders: WhoMay | None = None
    error: AppError | None = None
    await read_current(request)
    async with request.app[DATABASE].connection() as connection:
        choices = await _choices(request, connection, form.actor)
        if form.key:
            try:
                answer, holders = await _ask(request, connection, form)
            except AppError as problem:
                error = problem
    return page(
        request,
        "people/check.html",
        status=shown_status(request, error),
        form=form,
        scopes=PERSON_SCOPE_TEXTS.items(),
        choices=choices,
        answer=answer,
        holders=holders,
        errors=None if error is None else FormErrors.of(error),
    )


async def _ask(
    request: web.Request, connection: Connection, form: CheckForm
) -> tuple[AccessCheck | None, WhoMay | None]:
    key, rights, question = request.app[TOKENS].key, own_rights(request), form.question
    book = request.app[TOKENS].people.book
    explain.check_question(rights, question)
    await environments.get(connection, question.environment)
    if form.actor:
        return await explain.check(connection, key, book, rights, question, actor=form.actor), None
    after = request.query.get("after", "")
    found = await explain.who_may(
        connection, key, book, rights, question, after=after, limit=_PEOPLE_MAX
    )
    return None, found


async def _choices(
    request: web.Request, connection: Connection, chosen: str
) -> list[tuple[str, list[NamedActor]]]:
    """Return the people, and the tokens that the caller manages."""
    named = [
        actor_of(request, f"token:{token.id}", token.name)
        for token in request.app[TOKENS].usable.values()
        if reaches(own_rights(request), token.reach.environments, token.reach.prefixes)
    ]
    named.sort(key=lambda token: (token.name.casefold(), token.id))
    return [("People", await all_people(request, connection, chosen)), ("Tokens", named)]


async def get_me(request: web.Request) -> web.Response:
    """Show who the caller is, and what they may do."""
    caller, person = request[CALLER], None
    data: dict[str, Any] = {"rights": None, "way": "", "plain": []}
    kind, _, id_ = caller.actor.partition(":")
    # A person may have 5,000 grants. Their page has a table of some of them instead.
    given = () if kind == "person" else caller.rights.grants
    await read_current(request)
    async with request.app[DATABASE].connection() as connection:
        me = await caller_rights.me(connection, caller, given)
        if kind == "person":
            person = await service.get(connection, id_)
            data["rights"] = await held_rights(request, connection, person, is_own=True)
    if person is None:
        data["plain"] = [(right, environment_words(right.environments)) for right in me.rights]
        data["way"] = "a token" if caller.token_id is not None else "a one-time link"
    return page(request, "people/me.html", person=person, me=me, **data)
