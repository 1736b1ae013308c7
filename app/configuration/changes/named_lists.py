"""Check the lists that a change set names by their digests.

All environments share the stored lists. So an author who names a digest under a key of their own
can read its values. An author with limited rights may name a list that an entry which they may read
has or had, or a list that they have uploaded. For them, any other list does not exist.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.permissions import Rights
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import Kind, Operation
from app.database import Connection, sql
from app.errors import Invalid, Violation, as_sentence
from app.evaluation.lists import ListReference, list_reference

_VIOLATIONS_MAX = 20


def names_any_list(rights: Rights) -> bool:
    """Return whether the holder may name each stored list."""
    return not rights.have_prefixes or rights.covers_all(Scope.READ, EVERY_ENVIRONMENT)


def named_list(kind: str, value: Any) -> ListReference | None:
    """Return the list that the content of an entry names, None if it names none."""
    return list_reference(value) if kind == Kind.SEGMENT else None


async def check_lists(
    connection: Connection, operations: Iterable[Operation], authority: Authority, *, actor: str
) -> None:
    """Raise Invalid for a list that is not stored, or that the author may not name.

    Both get the same answer: a dry run must not confirm what a list of others has.
    """
    named = [(item, list_) for item in operations if (list_ := _list_of(item)) is not None]
    if not named:
        return
    is_free = names_any_list(authority.rights)
    free = {
        item.key
        for item, list_ in named
        if is_free or item.has_list_values or authority.lists.get(item.key) == list_
    }
    known = await _known(connection, [list_ for item, list_ in named if item.key in free])
    others = [list_ for item, list_ in named if item.key not in free]
    own = await _own(connection, others, authority.rights, actor)
    violations = [
        Violation(
            item.key, "names a list whose values are not stored; upload them to the key first"
        )
        for item, list_ in named
        if list_ not in (known if item.key in free else own)
    ]
    if violations:
        violations = violations[:_VIOLATIONS_MAX]
        raise Invalid("list_unknown", as_sentence(violations), violations)


def _list_of(operation: Operation) -> ListReference | None:
    content = operation.content
    return None if content is None else named_list(content.kind, content.value)


async def _known(connection: Connection, references: Sequence[ListReference]) -> set[ListReference]:
    if not references:
        return set()
    digests = [bytes.fromhex(reference.digest) for reference in references]
    rows = sql.list_known_lists(connection, digests=digests)
    return {ListReference(row["count"], row["digest"].hex()) async for row in rows}


async def _own(
    connection: Connection, references: Sequence[ListReference], rights: Rights, actor: str
) -> set[ListReference]:
    """Return those of the lists that an author with limited rights may name."""
    if not references:
        return set()
    held = rights.prefixes(Scope.READ)
    rows = sql.list_own_lists(
        connection,
        digests=[reference.digest for reference in references],
        counts=[reference.count for reference in references],
        environments=[environment for environment, _ in held],
        prefixes=[prefix for _, prefix in held],
        author=actor,
    )
    return {ListReference(row["count"], row["digest"]) async for row in rows}
