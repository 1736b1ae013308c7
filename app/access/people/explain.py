"""Say who may do what where, and why. The caller gives the grants: from memory or the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.access import tokens
from app.access.delegation import reaches
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope, Token
from app.access.people.book import GrantBook
from app.access.people.caller_rights import place_words
from app.access.people.grants import is_visible, visible
from app.access.people.models import Person, RoleGrant
from app.access.people.rows import find_person, person_of
from app.access.people.signatures import RowSigner
from app.access.people.views import AccessCheck, AccessHolder, AccessReason, WhoMay
from app.access.permissions import Rights, with_implied
from app.access.refusals import environment_foreign, key_foreign
from app.database import Connection, sql
from app.errors import NotFound, Violation
from app.settings import Secret

# The grants for other keys that an answer lists.
_PLACES_MAX = 10


@dataclass(frozen=True, kw_only=True)
class Question:
    """A scope for a key of an environment."""

    scope: Scope
    environment: str
    key: str

    def is_met_by(self, rights: Rights) -> bool:
        return self.key in rights.keys(self.scope, self.environment)

    def is_about(self, grant: RoleGrant) -> bool:
        """Return whether the grant is for this key and environment, whatever its role.

        Computing the rights of thousands of grants would block the event loop for too long.
        """
        return self.key.startswith(grant.prefix) and not grant.environments.isdisjoint(
            {self.environment, EVERY_ENVIRONMENT}
        )


@dataclass(frozen=True, kw_only=True)
class _Explainer:
    """The grants in force, for one question of a caller with these rights."""

    book: GrantBook
    own: Rights
    question: Question

    def reasons(self, held: Iterable[RoleGrant]) -> list[AccessReason]:
        """Return a reason for each of these grants that allows what the question asks."""
        return [
            self._reason(grant)
            for grant in held
            if self.question.is_about(grant) and self.question.is_met_by(self.book.union([grant]))
        ]

    def _reason(self, grant: RoleGrant) -> AccessReason:
        """Return the reason in words, such as "editor via group platform, all keys in local"."""
        is_visible_here = is_visible(self.own, grant)
        is_own = grant.project is None and is_visible_here
        given = self.book.given(grant)
        if not is_visible_here:
            # This administrator may not see its other environments.
            given = replace(given, environments=frozenset({self.question.environment}))
        text = grant.role
        via = None
        if grant.project is not None:
            via = f"project {grant.project}"
        elif grant.group_name is not None:
            via = f"group {grant.group_name}"
        if via is not None:
            text += f" via {via}"
        text += f", {place_words(given)}"
        if is_own:
            text += f", because {grant.reason}"
        return AccessReason(
            text=text,
            via=via,
            grant=grant.id if is_own else None,
            role=grant.role,
            environments=sorted(given.environments),
            prefixes=[grant.prefix],
            reason=grant.reason if is_own else None,
        )

    def holder(self, token: Token) -> AccessHolder:
        """Return a token that may do this. Only an administrator of all its keys sees its name."""
        actor, reach = f"token:{token.id}", token.reach
        if reaches(self.own, reach.environments, reach.prefixes):
            return AccessHolder(actor=actor, name=token.name, reasons=[_reason_of_token(reach)])
        question = self.question
        here = replace(
            reach,
            environments=frozenset({question.environment}),
            prefixes=frozenset({question.key}),
        )
        return AccessHolder(actor=actor, name=actor, reasons=[_reason_of_token(here)])

    def missing(self, name: str, given: Iterable[Grant], held: Iterable[RoleGrant]) -> str:
        """Return why an actor may not do this, without grants that the caller may not manage."""
        scope, roles = self.question.scope, self.book.roles.values()
        able = {role.name for role in roles if scope in with_implied(role.scopes)}
        found = visible(self.own, [grant for grant in held if grant.role in able])
        elsewhere = [
            *(
                grant
                for grant in given
                if scope in with_implied(grant.scopes)
                and reaches(self.own, grant.environments, grant.prefixes)
            ),
            *map(self.book.given, found[:_PLACES_MAX]),
        ]
        if not elsewhere:
            return f"{name} has no grant with the scope {scope} for this key."
        places = "; ".join(map(place_words, elsewhere))
        if len(found) > _PLACES_MAX:
            places += f"; and {len(found) - _PLACES_MAX} more"
        return f"{name} has the scope {scope}, but not for this key: {places}."


def check_question(own: Rights, question: Question) -> None:
    """Check that an administrator may ask about this key. Raises Forbidden."""
    keys = own.keys(Scope.ADMIN, question.environment)
    if not keys:
        raise environment_foreign()
    if question.key not in keys:
        raise key_foreign(Scope.ADMIN, question.key, keys)


async def who_may(
    connection: Connection,
    key: Secret,
    book: GrantBook,
    own: Rights,
    question: Question,
    *,
    after: str,
    limit: int,
) -> WhoMay:
    """Return every principal that may do this, with each reason. Raises Forbidden."""
    check_question(own, question)
    signer = RowSigner(key)
    explainer = _Explainer(book=book, own=own, question=question)
    groups = {group: explainer.reasons(book.of_group(group)) for group in sorted(book.groups)}
    groups = {group: reasons for group, reasons in groups.items() if reasons}
    ids = [id_ for id_ in book.people if explainer.reasons(book.held_by(id_, ()))]
    rows = sql.list_people_with(
        connection, ids=ids, groups=list(groups), after=after, page_size=limit + 1
    )
    found = [person_of(row) async for row in rows]
    people = await signer.genuine(found[:limit])
    return WhoMay(
        scope=question.scope,
        environment=question.environment,
        key=question.key,
        groups=[
            AccessHolder(actor=f"group:{group}", name=group, reasons=reasons)
            for group, reasons in groups.items()
        ],
        tokens=[
            explainer.holder(token)
            for token in await _tokens(connection)
            if question.is_met_by(Rights([token.reach]))
        ],
        people=[
            AccessHolder(
                actor=person.actor,
                name=person.name,
                # A group may have thousands of grants, so reuse its reasons.
                reasons=[
                    *explainer.reasons(book.held_by(person.id, ())),
                    *(reason for group in person.groups for reason in groups.get(group, ())),
                ],
            )
            for person in people
        ],
        next=found[limit - 1].id if len(found) > limit else None,
    )


async def check(
    connection: Connection,
    key: Secret,
    book: GrantBook,
    own: Rights,
    question: Question,
    *,
    actor: str,
) -> AccessCheck:
    """Return whether an actor may do this, and why. Raises NotFound and Forbidden."""
    check_question(own, question)
    signer = RowSigner(key)
    explainer = _Explainer(book=book, own=own, question=question)
    kind, _, name = actor.partition(":")
    reasons: list[AccessReason] = []
    refusal: str | None = None
    held: Sequence[RoleGrant] = ()
    given: list[Grant] = []
    if kind == "person":
        person = await find_person(connection, name)
        if person is None:
            raise _unknown()
        held = book.held_by(person.id, person.groups)
        refusal = _refusal_of_person(person, signer)
        reasons = [] if refusal else explainer.reasons(held)
        name = person.name
    elif kind == "token":
        token = next((t for t in await _tokens(connection) if t.id == name), None)
        given = [] if token is None else [token.reach]
        is_met = question.is_met_by(Rights(given))
        # `who_may` lists the tokens that may do this, also those that the caller does not manage.
        if token is None or not (
            is_met or reaches(own, token.reach.environments, token.reach.prefixes)
        ):
            raise _unknown()
        holder = explainer.holder(token)
        reasons = holder.reasons if is_met else []
        name = holder.name
    elif kind == "group" and name:
        held = book.of_group(name)
        reasons = explainer.reasons(held)
    elif kind == "operator" and name:
        reasons = [_reason_of_operator()]
    else:
        raise _unknown()
    text = "; ".join(reason.text for reason in reasons)
    return AccessCheck(
        actor=actor,
        actor_name=name,
        scope=question.scope,
        environment=question.environment,
        key=question.key,
        allowed=bool(reasons),
        text=text or refusal or explainer.missing(name, given, held),
        reasons=reasons,
    )


def _refusal_of_person(person: Person, signer: RowSigner) -> str | None:
    if not signer.accepts(person):
        return f"The row of {person.name} was changed outside of the service, and is ignored."
    if person.suspended_at is not None:
        return f"{person.name} is suspended since {person.suspended_at:%Y-%m-%d}."
    return None


async def _tokens(connection: Connection) -> Sequence[Token]:
    """Return the valid tokens by name."""
    now = await connection.fetchval("select current_timestamp")
    valid = [token for token in await tokens.list_usable(connection) if not token.is_over(now)]
    return sorted(valid, key=lambda token: (token.name, token.id))


def _reason_of_token(reach: Grant) -> AccessReason:
    return AccessReason(
        text=f"the token itself, {place_words(reach)}",
        via=None,
        grant=None,
        role=None,
        environments=sorted(reach.environments),
        prefixes=sorted(reach.prefixes),
        reason=None,
    )


def _reason_of_operator() -> AccessReason:
    return AccessReason(
        text="an operator has access to the database",
        via=None,
        grant=None,
        role=None,
        environments=[EVERY_ENVIRONMENT],
        prefixes=[""],
        reason=None,
    )


def _unknown() -> NotFound:
    rule = "must be person:ID, token:ID, group:NAME or operator:NAME"
    return NotFound(
        "actor_unknown", f"There is no such actor: it {rule}.", [Violation("actor", rule)]
    )
