"""People and their rights in memory.

`TokenDirectory` refreshes it in the poll of the tokens. The rights of a person are computed once
after a change, and not for each request.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import uuid4

from prometheus_client import Metric

from app.access.format import ALPHABET
from app.access.people.book import GrantBook
from app.access.people.models import Person, SignedRow
from app.access.people.rows import person_of, read_book
from app.access.people.signatures import RowSigner
from app.access.permissions import Rights
from app.components import HealthCheck, Status, gauge
from app.database import Connection, sql
from app.log import logger
from app.names import counted
from app.settings import Secret

log = logger(__name__)

# One statement reads this many people.
PEOPLE_AT_ONCE = 500
# The first characters of IDs.
PARTS = ALPHABET
# A tilde sorts after each character of an ID.
_AFTER_EACH_ID = "~"
_LOGGED_MAX = 10

Groups = tuple[str, ...]


class _Part(NamedTuple):
    """The people whose IDs begin with one character, without those who are suspended.

    `suspended` has the IDs of the latter. `edition` differs after each change of their rows.
    `subjects` are those of people whom a proxy names. `unsigned` has the rows with a wrong MAC.
    """

    edition: str
    people: dict[str, Groups]
    suspended: set[str]
    subjects: dict[str, str]
    unsigned: list[SignedRow]


class PeopleDirectory:
    """The people who may sign in, with those of their groups that have a grant.

    A change of one person, such as a sign-in, reads the part of that person alone: about a
    sixtieth of all, since the first characters of IDs are random.
    """

    def __init__(self, key: Secret) -> None:
        self._signer = RowSigner(key)
        self._granting: str | None = None
        self._book = GrantBook()
        self._parts: Mapping[str, _Part] = {}
        self._unsigned_granting: Sequence[SignedRow] = ()
        # The rights of the people who sent a request since the last change.
        self._rights: dict[str, Rights] = {}
        self._logged: frozenset[tuple[str, ...]] = frozenset()

    @property
    def book(self) -> GrantBook:
        """The roles, grants and projects in force."""
        return self._book

    @property
    def people_count(self) -> int:
        """The number of people who may sign in."""
        return sum(len(part.people) for part in self._parts.values())

    @property
    def grants_count(self) -> int:
        """The number of grants in force."""
        return len(self._book.grants)

    @property
    def unsigned(self) -> Sequence[SignedRow]:
        """The rows that are ignored, because their MAC is not that of their content."""
        people = [row for part in self._parts.values() for row in part.unsigned]
        return [*self._unsigned_granting, *people]

    def check(self) -> HealthCheck:
        """Warn of rows that are ignored, since they were changed outside of the service."""
        unsigned = counted(len(self.unsigned), "row")
        remark = f"{unsigned} changed outside of the service, and ignored: see access_rows_unsigned"
        return HealthCheck(
            status=Status.WARN if self.unsigned else Status.PASS,
            component_type="datastore",
            observed_value=self.people_count,
            observed_unit="people",
            output=remark if self.unsigned else None,
        )

    def metrics(self) -> Iterable[Metric]:
        yield gauge("flagstone_people", "People who may sign in.", self.people_count)
        yield gauge("flagstone_grants", "Grants to people and groups in force.", self.grants_count)
        yield gauge(
            "flagstone_access_rows_unsigned",
            "Rows of people, roles, grants and projects that were changed outside of the service, "
            "and are ignored.",
            len(self.unsigned),
        )

    def rights(self, person_id: str) -> Rights | None:
        """Return what a person may do now. None for one who is suspended or unknown."""
        rights = self._rights.get(person_id)
        if rights is None:
            part = self._parts.get(person_id[:1])
            groups = part.people.get(person_id) if part is not None else None
            if groups is None:
                return None
            rights = self._rights[person_id] = self._book.rights(person_id, groups)
        return rights

    def is_suspended(self, person_id: str) -> bool:
        part = self._parts.get(person_id[:1])
        return part is not None and person_id in part.suspended

    def is_suspended_subject(self, subject: str) -> bool:
        """Return whether a proxy knows a suspended person by this name."""
        parts = self._parts.values()
        return any(part.subjects.get(id_) == subject for part in parts for id_ in part.suspended)

    def proxy_subject(self, person_id: str) -> str | None:
        """Return the name by which a proxy knows a person. None for a person of a provider."""
        part = self._parts.get(person_id[:1])
        return part.subjects.get(person_id) if part is not None else None

    def has_groups(self, person_id: str, groups: Collection[str]) -> bool:
        """Return whether a person has these groups, apart from groups without a grant."""
        part = self._parts.get(person_id[:1])
        known = part.people.get(person_id, ()) if part is not None else ()
        return {*known} == {group for group in groups if group in self._book.groups}

    async def refresh(
        self, connection: Connection, granting: str, editions: Mapping[str, str]
    ) -> bool:
        """Read what differs from these editions. Return whether anything did."""
        book, unsigned = self._book, self._unsigned_granting
        # A row that is missing was deleted by hand. So it is unknown whether its part changed.
        granting = granting or str(uuid4())
        editions = {name: editions.get(name) or str(uuid4()) for name in PARTS}
        if granting != self._granting:
            unsigned = []
            book = await read_book(connection, self._signer, unsigned)
        # The parts in memory have only the groups with grants. If these groups change, read all.
        known = self._parts if book.groups == self._book.groups else {}
        parts = {
            name: known[name]
            for name, edition in editions.items()
            if name in known and known[name].edition == edition
        }
        if granting == self._granting and len(parts) == len(PARTS):
            return False
        changed = {name: edition for name, edition in editions.items() if name not in parts}
        if changed:
            parts |= await self._read(connection, book, changed)
        # No await between these: a request finds the old rights or the new ones.
        self._granting, self._book, self._parts = granting, book, parts
        self._unsigned_granting, self._rights = unsigned, {}
        self._log_unsigned()
        return True

    async def _read(
        self, connection: Connection, book: GrantBook, editions: Mapping[str, str]
    ) -> Mapping[str, _Part]:
        """Return the parts with these names."""
        parts = {name: _Part(edition, {}, set(), {}, []) for name, edition in editions.items()}
        names = sorted(parts)
        after, is_last = names[0], False
        while not is_last:
            rows = sql.list_people_parts(
                connection,
                parts=names,
                after=after,
                before=names[-1] + _AFTER_EACH_ID,
                page_size=PEOPLE_AT_ONCE,
            )
            unsigned: list[SignedRow] = []
            page = [person_of(row) async for row in rows]
            for person in await self._signer.genuine(page, unsigned):
                part = parts[person.id[0]]
                if person.suspended_at is None:
                    part.people[person.id] = _groups_with_grants(person, book)
                else:
                    part.suspended.add(person.id)
                if person.is_of_proxy:
                    part.subjects[person.id] = person.subject
            for row in unsigned:
                parts[row.signed[1][0]].unsigned.append(row)
            is_last = len(page) < PEOPLE_AT_ONCE
            after = page[-1].id if page else after
        return parts

    def _log_unsigned(self) -> None:
        """Log the rows that were not ignored at the last refresh, but are now."""
        unsigned = frozenset(row.signed[:2] for row in self.unsigned)
        found, self._logged = unsigned - self._logged, unsigned
        if found:
            rows = [" ".join(row) for row in sorted(found)[:_LOGGED_MAX]]
            log.warning("access_rows_unsigned", count=len(found), rows=rows)


def _groups_with_grants(person: Person, book: GrantBook) -> Groups:
    """Return the groups of a person that have grants. The others would only take memory."""
    return tuple(group for group in person.groups if group in book.groups)
