"""The doctor on servers with faults: it names each fault, and no fault hides another."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
import pytest

from app.audit.heads import signed
from app.crypto.signing import Signer
from app.database.role_names import APP, AUDITOR, LOGIN_ROLES, MIGRATOR, OWNER, READONLY
from app.environments.models import Environment
from app.operations.doctor.examination import CHECKS, DoctorCheck, examine
from app.operations.doctor.findings import Finding, FindingVerdict, passed, worst
from app.operations.doctor.installation import Installation
from app.secrets.keyring import KeyRing, KeyState, new_key
from app.settings import Secret, Target, load
from app.settings.review import review
from tests.conftest import Server
from tests.database.full_postgres import FullServer

PASS, WARN, FAIL, ABSENT = FindingVerdict
Examine = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[str]:
    """Yield a migrated database that tests may damage."""
    name = server.create_database("doctor", template="flagstone")
    with server.admin(name) as admin:
        # Provisioning does the same. A copied database does not get the rights of its template.
        admin.execute(
            f"revoke all on database {name} from public; "
            f"grant connect on database {name} to {', '.join(LOGIN_ROLES)}"
        )
    yield name
    server.drop_database("doctor")


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Run the checks of the command, and return the last finding of each check."""
    monkeypatch.chdir(tmp_path)

    async def run_doctor(**environ: str) -> dict[str, Finding]:
        for name in ("TIER", "DATABASE_URL", "DATABASE_MIGRATOR_URL", "KEY_RING"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"DATA_DIR": str(tmp_path / "data"), **environ}.items():
            monkeypatch.setenv(name, value)
        findings = await examine(load())
        assert not (tmp_path / "data").exists()
        return {f"{finding.group}: {finding.name}": finding for finding in findings}

    return run_doctor


def _url(target: Target, **options: str) -> str:
    host, port = target.hosts[0]
    where = {"host": host, "port": str(port)} if host.startswith("/") else {}
    password = quote(target.password.reveal(), safe="") if target.password else ""
    authority = "" if where else f"{host}:{port}"
    query = urlencode({**where, **options})
    return f"postgresql://{target.user}:{password}@{authority}/{target.database}?{query}"


def _is(finding: Finding, verdict: FindingVerdict, part: str = "") -> bool:
    assert (finding.verdict, part in finding.text) == (verdict, True), finding
    return True


async def test_healthy_server_except_disk_warns_of_disk(
    examined: Examine, server: Server, database: str
) -> None:
    findings = await examined(
        DATABASE_URL=_url(server.target(APP, database)),
        DATABASE_MIGRATOR_URL=_url(server.target(MIGRATOR, database)),
    )

    assert _is(findings["database: app connection"], PASS, "takes writes")
    assert _is(findings["database: migrator connection"], PASS, MIGRATOR)
    assert _is(findings["database: TLS"], ABSENT, "because a Unix socket needs none")
    assert _is(findings["database: clock"], PASS, "ms from ours")
    assert _is(findings["database: connections"], PASS, "up to 6 of 97")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert _is(findings[f"database: {name}"], FAIL, "off: ")
    assert _is(findings["roles: app role"], PASS)
    assert _is(findings["roles: roles"], PASS)
    assert _is(findings["roles: public rights"], PASS)
    assert _is(findings["roles: verifiers"], ABSENT, "only a superuser may read pg_authid")
    assert _is(findings["schema: migrations"], PASS, "all ")
    assert _is(findings["keys: data keys"], PASS, "none yet")
    assert _is(findings["settings: password of DATABASE_URL"], PASS)
    assert len(findings) >= len(CHECKS)


async def test_superuser_passes_in_local_and_fails_in_other_tiers(
    examined: Examine, server: Server, database: str
) -> None:
    url = _url(server.superuser.named(database))
    with server.admin(database) as admin:
        stored_verifier = admin.execute(
            "select rolpassword from pg_authid where rolname = %s", [READONLY]
        )
        verifier = stored_verifier.fetchall()[0][0]
        admin.execute(
            f"set password_encryption = 'md5'; alter role {READONLY} password 'old'; "
            f"alter database {database} set default_transaction_read_only = on"
        )
        old = await examined(DATABASE_URL=url)
        admin.execute(
            "set default_transaction_read_only = off; "
            f"alter role {READONLY} password '{verifier}'; "
            f"alter database {database} reset default_transaction_read_only"
        )
    strict = {"TIER": "staging", "TOKEN_KEY": "k" * 32, "SEED_ON_START": "false"}

    local = await examined(DATABASE_URL=url)
    staging = await examined(DATABASE_URL=url, **strict)

    assert _is(local["roles: app role"], WARN, "is a superuser")
    assert _is(staging["roles: app role"], FAIL, "is a superuser")
    assert _is(local["roles: verifiers"], PASS)
    assert _is(old["roles: verifiers"], FAIL, f"not SCRAM: {READONLY};")
    assert _is(old["database: app connection"], FAIL, "which is read-only: it takes no writes")
    assert _is(staging["keys: token key"], PASS)
    assert _is(staging["keys: key ring"], ABSENT, "KEY_RING is not set")


async def test_public_rights_and_powerful_roles_are_named(
    examined: Examine, server: Server, database: str
) -> None:
    with server.admin(database) as admin:
        admin.execute(
            "grant create on schema public to public; "
            f"grant temporary on database {database} to public"
        )
        wide = await examined(DATABASE_URL=_url(server.target(APP, database)))
        admin.execute(
            "grant select (name) on flagstone.tokens to public; "
            f"alter role {READONLY} createdb; grant {OWNER} to {READONLY}; "
            f"alter role {AUDITOR} login"
        )
        try:
            wider = await examined(DATABASE_URL=_url(server.target(APP, database)))
            admin.execute(
                f"alter role {READONLY} nocreatedb; revoke {OWNER} from {READONLY}; "
                f"alter role {AUDITOR} nologin; revoke {OWNER} from {MIGRATOR}"
            )
            lame = await examined(DATABASE_URL=_url(server.target(APP, database)))
        finally:
            admin.execute(
                f"alter role {READONLY} nocreatedb; revoke {OWNER} from {READONLY}; "
                f"alter role {AUDITOR} nologin; grant {OWNER} to {MIGRATOR}; "
                "revoke all (name) on flagstone.tokens from public; "
                "revoke all on schema public from public; "
                f"revoke all on database {database} from public"
            )

    assert _is(
        wide["roles: public rights"], WARN, "create objects in the schema public, create tempo"
    )
    assert _is(wider["roles: public rights"], FAIL, "select on tokens")
    assert _is(
        wider["roles: roles"],
        FAIL,
        f"{READONLY}, {AUDITOR} (it can log in), {READONLY} (it can become {OWNER})",
    )
    assert _is(lame["roles: roles"], FAIL, f"{MIGRATOR} cannot become {OWNER}")


async def test_doctor_warns_before_connections_run_out(
    examined: Examine, server: Server, database: str
) -> None:
    url = _url(server.target(APP, database))

    high = await examined(DATABASE_URL=url, DATABASE_POOL_MAX="16", WORKERS="5")
    full = await examined(DATABASE_URL=url, DATABASE_POOL_MAX="47", WORKERS="2")

    assert _is(high["database: connections"], WARN, "up to 85 of 97")
    assert _is(full["database: connections"], FAIL, "up to 96 of 97")


async def test_schema_older_newer_or_edited_is_reported(
    examined: Examine, server: Server, database: str
) -> None:
    empty = server.create_database("doctor_empty")
    pending = await examined(DATABASE_URL=_url(server.target(MIGRATOR, empty)))
    server.drop_database(empty)
    url = _url(server.target(MIGRATOR, database))
    with server.admin(database) as admin:
        admin.execute(
            "insert into flagstone.migrations "
            "(timestamp, name, kind, phase, checksum, instance, state) "
            "select 9999999999999, '9999999999999-OfTomorrow', "
            "kind, phase, checksum, instance, state "
            "from flagstone.migrations limit 1"
        )
        newer = await examined(DATABASE_URL=url)
        admin.execute(
            "delete from flagstone.migrations where timestamp = 9999999999999; "
            "update flagstone.migrations set checksum = reverse(checksum) "
            "where name like '%CreateTokensTable'"
        )
        edited = await examined(DATABASE_URL=url)
        admin.execute(
            "update flagstone.migrations set checksum = reverse(checksum) "
            "where name like '%CreateTokensTable'"
        )

    assert _is(pending["schema: migrations"], FAIL, " pending, the first is 1795890000000-")
    assert _is(pending["keys: data keys"], FAIL, "Run `python -m app database migrate`")
    assert _is(newer["schema: migrations"], WARN, "9999999999999-OfTomorrow")
    assert _is(edited["schema: migrations"], FAIL, "CreateTokensTable was applied, and its file")


async def test_data_key_without_its_key_is_named_with_it(
    examined: Examine, server: Server, database: str
) -> None:
    ring = KeyRing((new_key(KeyState.ACTIVE, date(2026, 11, 24)),))
    with server.admin(database) as admin:
        admin.execute(
            "insert into flagstone.data_keys (environment, id, kek_id, wrapped) "
            "values ('local', '\\x0011223344556677', '20260101-lost', repeat('x', 60)::bytea)"
        )
        findings = await examined(
            DATABASE_URL=_url(server.target(APP, database)), KEY_RING=ring.text
        )
        admin.execute("delete from flagstone.data_keys")

    assert _is(findings["keys: key ring"], PASS, "1 key, 0 of them retired")
    assert _is(findings["keys: data keys"], FAIL, "20260101-lost is not in the key ring")


async def test_password_weak_or_wrong_is_reported(examined: Examine, server: Server) -> None:
    target = server.target(APP)
    weak = _url(target).replace(target.password.reveal() if target.password else "?", "hunter2")

    findings = await examined(DATABASE_URL=weak)

    assert _is(findings["settings: password of DATABASE_URL"], WARN, "at least 16 characters and")
    assert _is(findings["database: app connection"], FAIL, "password authentication failed")
    assert _is(findings["roles: app role"], ABSENT, "because the database cannot be reached")
    assert _is(findings["machine: disk"], PASS)
    assert "hunter2" not in str(findings)


async def test_doctor_gives_up_on_a_silent_server(
    examined: Examine,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://a@127.0.0.1:{silent.getsockname()[1]}/d"
        findings = await examined(DATABASE_URL=url, DATABASE_HOST_TIMEOUT="0.3")

    assert _is(findings["database: app connection"], FAIL, "no answer in time")
    assert _is(findings["schema: migrations"], ABSENT, "because the database cannot be reached")


async def test_check_hangs_or_fails_others_still_run(tmp_path: Path) -> None:
    async def hang(_: Installation) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    async def break_down(_: Installation) -> list[Finding]:
        raise ZeroDivisionError("a secret")

    async def go_on(_: Installation) -> list[Finding]:
        return [passed("other", "fine")]

    checkers = (hang, break_down, go_on)
    checks = [
        DoctorCheck("group", checker.__name__, checker, needs_database=False, seconds=0.05)
        for checker in checkers
    ]

    findings = await examine(load({"DATA_DIR": str(tmp_path / "none")}), checks=checks)

    assert [(finding.name, finding.verdict, finding.text) for finding in findings] == [
        ("hang", FAIL, "took longer than 0.05 s"),
        ("break_down", FAIL, "cannot be checked: an unexpected error, see the log"),
        ("other", PASS, "fine"),
    ]
    assert not (tmp_path / "none").exists()
    assert worst(findings) is FAIL
    assert worst(findings[2:]) is PASS


async def test_doctor_reports_changed_history_and_schema(
    examined: Examine, server: Server, database: str
) -> None:
    url = _url(server.target(APP, database))
    with server.admin(database) as admin:
        admin.execute(
            "insert into flagstone.change_sets (environment, revision, kind, actor, hash) "
            "values ('local', 1, 'edit', 'test', sha256('x'));"
            "create index by_hand on flagstone.configurations (kind);"
            "alter event trigger flagstone_sql_drop disable"
        )
        try:
            findings = await examined(DATABASE_URL=url)
        finally:
            admin.execute(
                "delete from flagstone.change_sets; drop index flagstone.by_hand;"
                "alter event trigger flagstone_sql_drop enable always"
            )
        admin.execute(
            "insert into flagstone.change_sets (environment, revision, kind, actor) "
            "values ('local', 1, 'edit', 'test');"
            "update flagstone.environments set revision = 1 where name = 'local'"
        )
        without_hash = await examined(DATABASE_URL=url)
        admin.execute(
            "delete from flagstone.change_sets; update flagstone.environments set revision = 0"
        )
    well = await examined(DATABASE_URL=url)

    assert _is(without_hash["proof: history"], FAIL, "local: revision 1 has lost its hash")
    assert _is(findings["proof: history"], FAIL, "local: revision 1 does not match its hash")
    assert _is(findings["proof: schema as migrated"], FAIL, "by_hand")
    assert _is(findings["proof: schema changes"], FAIL, "flagstone_sql_drop")
    assert _is(well["proof: history"], PASS, "0 revisions of 4 environments verified")
    assert _is(well["proof: schema as migrated"], PASS)
    assert _is(well["proof: schema changes"], PASS)
    assert _is(well["proof: signed heads"], ABSENT, "there is no ")


async def test_unreadable_or_orphaned_heads_hide_no_history(
    examined: Examine, server: Server, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "heads"
    environ = {
        "DATABASE_URL": _url(server.target(APP, database)),
        "TOKEN_KEY": "k" * 32,
        "AUDIT_HEADS_FILE": str(file),
    }
    gone = Environment(
        name="gone",
        tier="production",
        revision=7,
        epoch="e",
        hash="ab" * 32,
        protected=False,
        fractional="murmur3",
        metadata={},
    )
    head = signed(gone, None, datetime.now(UTC), Signer(Secret("k" * 32)))
    file.write_bytes(msgspec.json.encode(head) + b"\n")

    removed = await examined(**environ)
    with file.open("a") as forged:
        forged.write("{}\n")
    unreadable = await examined(**environ)

    assert _is(removed["proof: signed heads"], FAIL, "0 of 1 match the history")
    assert _is(removed["proof: history"], FAIL, "gone: revision 7 ")
    assert _is(unreadable["proof: signed heads"], FAIL, "line 2 is not a head")
    assert _is(unreadable["proof: history"], PASS, "0 revisions of 4 environments verified")


async def test_doctor_reports_tcp_without_tls(examined: Examine, plain_server: FullServer) -> None:
    url = _url(plain_server.target(APP), sslmode="disable")

    local = await examined(DATABASE_URL=url)
    development = await examined(DATABASE_URL=url, TIER="development")

    assert _is(local["database: TLS"], WARN, "is not in use")
    assert _is(local["next tier: settings"], WARN, "connects without verify-full")
    assert _is(development["settings: settings"], WARN, "connects without verify-full")
    assert _is(development["next tier: DATABASE_URL"], WARN, "staging would refuse it: must ")
    assert _is(development["next tier: TOKEN_KEY"], WARN, "is required in staging")


def test_review_covers_the_next_tier() -> None:
    strict = {"DATABASE_URL": "postgresql://app@db/flagstone", "TOKEN_KEY": "k" * 32}

    assert review({}).refused == []
    assert [name for name, _ in review({"TIER": "development"}).refused] == [
        *("DATABASE_URL", "TOKEN_KEY")
    ]
    assert review({"TIER": "staging", **strict}).refused == []
    assert review({"TIER": "production", **strict}).next_tier is None
    assert review(strict).passwords == {"DATABASE_URL": None}
