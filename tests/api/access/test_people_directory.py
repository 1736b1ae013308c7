"""People sign in: their row, their rights in memory on every instance, and rows changed by hand."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from app.access.caller import Caller
from app.access.directory import TokenDirectory
from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from app.access.people import signing
from app.access.people.directory import PARTS
from app.access.people.edit import AccessEdit
from app.access.people.models import GROUPS_MAX
from app.access.people.rights import rights_of
from app.access.people.signatures import RowSigner
from app.access.people.signing import unsigned_rows
from app.components import ReportScope
from app.database import Connection, Database
from app.errors import Forbidden, Invalid, Unauthenticated
from app.http.keys import DATABASE
from app.settings import Secret, Settings, Target
from tests.conftest import Admin, Service
from tests.people import SignedIn, give, sign_in_person


@pytest.fixture
async def other(
    service: Service, settings: Settings, database_target: Target
) -> AsyncIterator[TokenDirectory]:
    """Yield the directory of another instance, which refreshes only when it is asked."""
    database = Database(settings.database)
    await database.open(database_target)
    directory = TokenDirectory(database, service.app[TOKENS].key)
    await directory.refresh()
    yield directory
    await database.close()


def caller(service: Service, signed_in: SignedIn) -> Caller:
    return service.app[TOKENS].authenticate_session(signed_in.text)


async def refresh(service: Service) -> None:
    await service.app[TOKENS].refresh()


async def test_person_without_grant_has_no_rights(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")

    found = caller(service, asha)

    assert (found.actor, found.name) == (f"person:{asha.person.id}", "Asha")
    assert not any(map(found.rights.has, Scope))


async def test_grant_to_person_gives_its_scopes(service: Service) -> None:
    asha = await sign_in_person(service)
    await give(service, asha.person, "editor", environments=("staging",), prefix="payments/")

    rights = caller(service, asha).rights

    assert "payments/limit" in rights.keys(Scope.WRITE, "staging")
    assert "search/limit" not in rights.keys(Scope.WRITE, "staging")
    assert not rights.keys(Scope.WRITE, "local")


async def test_grant_to_group_before_it_has_members_works(service: Service) -> None:
    await give(service, "platform", "viewer")
    asha = await sign_in_person(service, "asha", "platform")
    ben = await sign_in_person(service, "ben", "search")

    assert caller(service, asha).rights.has(Scope.READ)
    assert not caller(service, ben).rights.has(Scope.READ)


async def test_second_sign_in_updates_the_person(service: Service) -> None:
    await give(service, "platform", "viewer")
    first = await sign_in_person(service, "asha", "platform", "staff")
    second = await sign_in_person(service, "asha", "staff", name="Asha Patel")

    assert second.person.id == first.person.id
    assert second.person.name == "Asha Patel"
    # The removed group counts in every session of the person.
    assert not caller(service, first).rights.has(Scope.READ)


async def test_same_subject_of_two_issuers_is_two_people(service: Service) -> None:
    here = await sign_in_person(service, "asha")
    there = await sign_in_person(service, "asha", issuer="https://other.example.com")

    assert here.person.id != there.person.id
    assert here.person.email == there.person.email


async def test_grant_is_seen_by_other_instance(service: Service, other: TokenDirectory) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await other.refresh()
    assert not other.authenticate_session(asha.text).rights.has(Scope.READ)

    await give(service, "platform", "viewer")
    await other.refresh()

    assert other.authenticate_session(asha.text).rights.has(Scope.READ)


async def test_refresh_without_change_keeps_computed_rights(service: Service) -> None:
    asha = await sign_in_person(service)
    before = caller(service, asha).rights

    await refresh(service)

    assert caller(service, asha).rights is before


@pytest.mark.parametrize(
    "change",
    [
        "groups = '{platform}'",
        "subject = 'ben'",
        "issuer = 'https://other.example.com'",
        "suspended_at = current_timestamp",
    ],
)
async def test_person_changed_by_hand_is_refused(
    service: Service, cleaner: Admin, change: str
) -> None:
    await give(service, "platform", "admin")
    asha = await sign_in_person(service, "asha", "staff")

    cleaner.execute(f"update flagstone.people set {change}")  # noqa: S608 - ours
    await refresh(service)

    with pytest.raises(Unauthenticated):
        caller(service, asha)
    assert len(service.app[TOKENS].people.unsigned) == 1


def editions(cleaner: Admin) -> dict[str, object]:
    rows = cleaner.execute("select part, edition from flagstone.access_editions").fetchall()
    return {str(part): edition for part, edition in rows}


NEW_PERSON = (
    "insert into flagstone.people (id, mac, issuer, subject, name) "
    "values ('a0123456789bc', sha256(''), 'i', 's', 'n')"
)


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    ("change", "part"),
    [
        (NEW_PERSON, "a"),
        ("update flagstone.people set id = 'b0123456789bc' where subject = 'ben'", "b"),
        ("update flagstone.people set name = name", None),
        ("delete from flagstone.people", None),
        ("truncate flagstone.people cascade", None),
        *(
            (change.replace("TABLE", f"flagstone.{table}"), "granting")
            for table in ("roles", "grants", "projects")
            for change in (
                "insert into TABLE select * from TABLE where false",
                "update TABLE set mac = mac",
                "delete from TABLE",
                "truncate TABLE",
            )
        ),
    ],
)
async def test_change_by_hand_is_noticed(
    service: Service, cleaner: Admin, change: str, part: str | None, role: str
) -> None:
    """With every statement, and also in a session that fires no ordinary triggers."""
    ben = await sign_in_person(service, "ben")
    cleaner.execute("delete from flagstone.sessions")
    changed = {part or ben.person.id[0]} | ({ben.person.id[0]} if "set id" in change else set())
    before = editions(cleaner)

    with cleaner.transaction():
        cleaner.execute(f"set local session_replication_role = {role}".encode())
        cleaner.execute(change.encode())
    after = editions(cleaner)

    assert {name for name in after if after[name] != before.get(name)} >= changed


@pytest.fixture
def restored_editions(cleaner: Admin) -> Iterator[None]:
    """Write the rows that the test deletes, for the tests that follow."""
    yield
    cleaner.execute(
        "insert into flagstone.access_editions (part) select unnest(%s::text[]) "
        "on conflict on constraint access_editions_pkey do nothing",
        [[*PARTS, "granting"]],
    )


@pytest.mark.usefixtures("restored_editions")
@pytest.mark.parametrize("removal", ["truncate", "delete from"])
async def test_missing_editions_lock_nobody_out(
    service: Service, cleaner: Admin, other: TokenDirectory, removal: str
) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "viewer")
    await other.refresh()

    cleaner.execute(f"{removal} flagstone.access_editions".encode())
    await other.refresh()
    before = other.authenticate_session(asha.text).rights
    await sign_in_person(service, "asha", "staff")
    await other.refresh()

    assert before.has(Scope.READ)
    assert not other.authenticate_session(asha.text).rights.has(Scope.READ)


@pytest.mark.usefixtures("restored_editions")
@pytest.mark.parametrize("is_known", [True, False])
async def test_missing_editions_hide_no_change(
    service: Service, cleaner: Admin, other: TokenDirectory, *, is_known: bool
) -> None:
    """Nor does it matter whether the rows are missing before the change, or after it."""
    ben, chi = [await sign_in_person(service, name) for name in ("ben", "chi")]
    if is_known:
        await other.refresh()
    cleaner.execute("truncate flagstone.access_editions")
    await other.refresh()
    assert other.people.rights(ben.person.id) is not None

    cleaner.execute("delete from flagstone.people where subject = 'chi'")
    cleaner.execute("truncate flagstone.access_editions")
    await other.refresh()
    assert other.people.rights(chi.person.id) is None
    assert other.people.rights(ben.person.id) is not None

    cleaner.execute("truncate flagstone.people cascade")
    await other.refresh()
    assert other.people.rights(ben.person.id) is None


def test_each_part_has_an_edition(cleaner: Admin) -> None:
    """A part without one is read with each poll."""
    assert editions(cleaner).keys() == {*PARTS, "granting"}


async def test_change_of_a_person_leaves_other_parts(service: Service, cleaner: Admin) -> None:
    for number in range(20):
        await sign_in_person(service, f"p{number}")
    before = editions(cleaner)
    again = await sign_in_person(service, "p7")
    after = editions(cleaner)

    assert {name for name in after if after[name] != before[name]} == {again.person.id[0]}


async def test_change_that_is_rolled_back_is_no_change(service: Service, cleaner: Admin) -> None:
    await sign_in_person(service)
    before = editions(cleaner)
    with contextlib.suppress(psycopg.errors.DivisionByZero), cleaner.transaction():
        cleaner.execute("delete from flagstone.grants")
        cleaner.execute("select 1 / 0")

    assert editions(cleaner) == before


async def test_all_people_are_read_in_pages(
    service: Service, other: TokenDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.people.directory.PEOPLE_AT_ONCE", 2)
    signed_in = [await sign_in_person(service, f"p{number}") for number in range(7)]

    await other.refresh()

    assert other.people.people_count == 7
    assert all(other.people.rights(person.person.id) is not None for person in signed_in)


async def test_person_changed_by_hand_cannot_sign_in(service: Service, cleaner: Admin) -> None:
    await sign_in_person(service)
    cleaner.execute("update flagstone.people set groups = '{platform}'")

    with pytest.raises(Forbidden) as refused:
        await sign_in_person(service)

    assert refused.value.code == "person_unsigned"


@pytest.mark.parametrize(
    "change",
    ["role = 'admin'", "prefix = ''", "environments = '{*}'", "group_name = 'staff'"],
)
async def test_grant_changed_by_hand_is_ignored(
    service: Service, cleaner: Admin, change: str
) -> None:
    await give(service, "platform", "viewer", environments=("local",), prefix="payments/")
    asha = await sign_in_person(service, "asha", "platform", "staff")

    cleaner.execute(f"update flagstone.grants set {change}")  # noqa: S608 - ours
    await refresh(service)

    assert not any(map(caller(service, asha).rights.has, Scope))
    assert len(service.app[TOKENS].people.unsigned) == 1


async def test_role_of_no_row_and_not_built_in_gives_nothing(service: Service) -> None:
    asha = await sign_in_person(service)
    await give(service, asha.person, "operator")

    assert not any(map(caller(service, asha).rights.has, Scope))


async def test_other_key_refuses_people(service: Service) -> None:
    asha = await sign_in_person(service)
    key = Secret("another key with enough characters, for this test")
    directory = TokenDirectory(service.app[DATABASE], key)

    await directory.refresh()

    assert directory.people.rights(asha.person.id) is None
    assert [row.signed[:2] for row in directory.people.unsigned] == [("people", asha.person.id)]


async def test_rights_of_actors_come_from_the_database(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "editor", environments=("local",))
    key = service.app[TOKENS].key
    admin = f"token:{service.admin_token.split('_')[2]}"
    actors = [asha.person.actor, admin, "operator:ben", "person:0000000000000", "system:start"]

    async with service.app[DATABASE].connection() as connection:
        found = await rights_of(connection, key, actors)

    assert found[asha.person.actor].covers_all(Scope.WRITE, "local")
    assert not found[asha.person.actor].covers(Scope.WRITE, "staging")
    assert found[admin].covers_all(Scope.ADMIN, "*")
    assert found["operator:ben"].covers_all(Scope.ADMIN, "*")
    assert not any(map(found["person:0000000000000"].has, Scope))
    assert not any(map(found["system:start"].has, Scope))


async def test_claims_that_cannot_be_stored_name_their_field(service: Service) -> None:
    for subject, groups, field in (
        ("", ["a"], "subject"),
        ("a\nb", ["a"], "subject"),
        ("a" * 256, ["a"], "subject"),
        ("asha", ["a\nb"], "groups"),
        ("asha", ["a" * 256], "groups"),
        ("asha", [str(number) for number in range(GROUPS_MAX + 1)], "groups"),
    ):
        with pytest.raises(Invalid) as refused:
            await sign_in_person(service, subject, *groups)
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_person_with_most_groups_has_the_rights_of_each(service: Service) -> None:
    groups = [f"group-{number}-{'x' * 200}" for number in range(GROUPS_MAX)]
    asha = await sign_in_person(service, "asha", *groups)
    await give(service, groups[321], "viewer")

    assert caller(service, asha).rights.has(Scope.READ)


async def test_name_falls_back_to_the_email_and_then_to_the_subject(service: Service) -> None:
    asha = await sign_in_person(service, "asha", name="\n")
    # The e-mail address is too long to be stored.
    long = await sign_in_person(service, "s" * 250, name="\n")

    assert (asha.person.name, asha.person.email) == ("asha@example.com", "asha@example.com")
    assert (long.person.name, long.person.email) == ("s" * 200, "")


async def test_name_with_unprintable_characters_is_stored_without(service: Service) -> None:
    asha = await sign_in_person(service, name="A\x00sha\n\u202e" + "a" * 300)

    assert asha.person.name == "Asha" + "a" * 196


async def test_health_warns_of_rows_changed_by_hand(service: Service, cleaner: Admin) -> None:
    await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "viewer")
    directory = service.app[TOKENS]
    before = directory.checks(ReportScope())["people"]

    cleaner.execute("update flagstone.grants set role = 'admin'")
    cleaner.execute("update flagstone.people set groups = '{staff}'")
    await refresh(service)

    after = directory.checks(ReportScope())["people"]
    assert (before.status, before.observed_value, before.output) == ("pass", 1, None)
    assert (after.status, after.observed_value) == ("warn", 0)
    assert str(after.output).startswith("2 rows changed outside of the service, and ignored")
    values = {family.name: family.samples[0].value for family in directory.metrics()}
    assert values["flagstone_access_rows_unsigned"] == 2
    assert (values["flagstone_people"], values["flagstone_grants"]) == (0, 0)


async def test_signed_rows_count_again(service: Service, cleaner: Admin) -> None:
    """As after a change of TOKEN_KEY: an operator has seen the rows, and signs them."""
    asha = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "viewer")
    cleaner.execute("update flagstone.grants set role = 'editor'")
    cleaner.execute("update flagstone.people set groups = '{platform,staff}'")
    signer, database = RowSigner(service.app[TOKENS].key), service.app[DATABASE]

    async def sign(connection: Connection) -> list[tuple[str, ...]]:
        shown = await unsigned_rows(connection, signer)
        edit = AccessEdit(
            connection=connection,
            log=service.app[ACCESS_LOG],
            key=service.app[TOKENS].key,
            origin=Origin(actor="operator:ben"),
        )
        await signing.sign(edit, shown)
        return sorted(row.signed[:1] for row in shown)

    assert await database.transact(sign) == [("grants",), ("people",)]
    await refresh(service)

    assert caller(service, asha).rights.has(Scope.WRITE)
    assert not service.app[TOKENS].people.unsigned


async def test_row_that_changed_after_it_was_shown_is_not_signed(
    service: Service, cleaner: Admin
) -> None:
    await give(service, "platform", "viewer")
    cleaner.execute("update flagstone.grants set role = 'editor'")
    key = service.app[TOKENS].key
    async with service.app[DATABASE].connection() as connection:
        shown = await unsigned_rows(connection, RowSigner(key))
    cleaner.execute("update flagstone.grants set role = 'admin'")

    async def sign(connection: Connection) -> None:
        edit = AccessEdit(
            connection=connection,
            log=service.app[ACCESS_LOG],
            key=key,
            origin=Origin(actor="operator:ben"),
        )
        await signing.sign(edit, shown)

    await service.app[DATABASE].transact(sign)
    await refresh(service)

    assert [row.signed[0] for row in service.app[TOKENS].people.unsigned] == ["grants"]


async def test_rights_end_with_suspension_and_respect_prefixes(
    service: Service, cleaner: Admin
) -> None:
    asha = await sign_in_person(service)
    ben = await sign_in_person(service, "ben")
    for person in (asha.person, ben.person):
        await give(service, person, "editor")
    path = f"/v1/people/{asha.person.id}/suspend"
    assert (await service.client.post(path, json={"reason": "r"})).status == 200
    cleaner.execute(
        "update flagstone.people set groups = '{platform}' where id = %s", [ben.person.id]
    )
    limited = await service.token(Scope.WRITE, prefixes=("payments/",))
    token = f"token:{limited.split('_')[2]}"
    actors = [asha.person.actor, ben.person.actor, token]

    async with service.app[DATABASE].connection() as connection:
        found = await rights_of(connection, service.app[TOKENS].key, actors)

    assert not any(map(found[asha.person.actor].has, Scope))
    assert not any(map(found[ben.person.actor].has, Scope))
    assert found[token].keys(Scope.WRITE, "local").prefixes == ("payments/",)
