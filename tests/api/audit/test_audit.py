"""Tampering with the database is found, with the first revision that it changed."""

import asyncio
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from app.audit.chain import consistent_read, pages
from app.audit.head_export import HeadExport
from app.audit.heads import Head, SignedHead, last_heads, read_heads, signed
from app.audit.verification import Broken, Verified, verify
from app.configuration.changes.chain import GENESIS, link_hash
from app.crypto.secret import Secret
from app.crypto.signing import Signer
from app.environments import service as environments
from app.errors import AppError
from app.http.keys import DATABASE
from app.schema.expectations import find_expectations
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS, until

LOCAL = "/v1/environments/local"
SIGNER = Signer(Secret("k" * 32))
KEY = SIGNER.public_key


def _put(key: str, version: int, value: object, kind: str = "setting") -> dict[str, object]:
    return {"op": "put", "key": key, "version": version, "kind": kind, "value": value}


_STORY: list[dict[str, object]] = [
    {"operations": [_put("a", 0, 1), _put("b", 0, {"n": 1.5})]},
    {"operations": [_put("a", 1, 2)], "message": "why"},
    {"operations": [_put("a", 2, 3)], "message": "why not"},
    {"operations": [_put("s", 0, "hidden", "secret"), _put("t", 0, "other", "secret")]},
    {"operations": [{"op": "delete", "key": "b", "version": 1}, _put("c", 0, None)]},
    {"operations": [_put("a", 3, 4)]},
]


@pytest.fixture
async def written(service: Service) -> Service:
    """Write six revisions of keys, and a seventh of the properties."""
    for change_set in _STORY:
        answer = await service.client.post(f"{LOCAL}/changes", json=change_set)
        assert answer.status == 200, await answer.text()
    answer = await service.client.patch(
        LOCAL, json={"metadata": {"team": "x", "on": True}}, headers={"If-Match": '"1"'}
    )
    assert answer.status == 200, await answer.text()
    return service


async def _verify(service: Service, heads: Sequence[Head] = ()) -> Verified | Broken:
    async with consistent_read(service.app[DATABASE]) as connection:
        return await verify(connection, "local", heads=heads)


async def _head(service: Service, signer: Signer = SIGNER) -> SignedHead:
    async with service.app[DATABASE].connection() as connection:
        head = signed(
            await environments.get(connection, "local"),
            await find_expectations(connection),
            datetime.now(UTC),
            signer,
        )
    assert head is not None
    return head


def _tamper(server: Server, statements: str) -> None:
    """Run statements as a superuser without triggers and constraints."""
    with server.admin("suite") as connection:
        connection.execute("set search_path = flagstone; set session_replication_role = replica")
        connection.execute(statements.encode())


async def test_untouched_history_is_verified(written: Service) -> None:
    outcome = await _verify(written, [await _head(written)])

    assert isinstance(outcome, Verified)
    assert (outcome.revision, outcome.heads) == (7, 1)


async def test_verification_ignores_concurrent_writes(written: Service) -> None:
    async with consistent_read(written.app[DATABASE]) as connection:
        before = await environments.get(connection, "local")
        await written.client.post(f"{LOCAL}/changes", json={"operations": [_put("a", 4, 0)]})
        outcome = await verify(connection, "local")
        pause = await connection.fetchval("show idle_in_transaction_session_timeout")

    assert isinstance(outcome, Verified)
    assert (outcome.revision, before.revision) == (7, 7)
    assert pause == "1min"  # Hashing takes a while.


async def test_environment_without_history_is_verified(service: Service) -> None:
    assert isinstance(await _verify(service), Verified)


# No other environment has a history here.
_SWAP = """
    update change_sets set
        message = other.message, hash = other.hash, created_at = other.created_at
    from (select * from change_sets) as other
    where change_sets.revision in (2, 3) and other.revision = 5 - change_sets.revision;
    update changes set before_value = other.before_value, after_value = other.after_value
    from (select * from changes) as other
    where changes.revision in (2, 3) and other.revision = 5 - changes.revision
"""
_DEEP_METADATA = (
    "update environments set metadata = "
    "('{\"a\":' || repeat('[', 4000) || repeat(']', 4000) || '}')::jsonb where name = 'local'"
)
_TAMPERINGS = {
    "a message": ("update change_sets set message = 'x' where revision = 2", 2),
    "an actor": ("update change_sets set actor = 'operator:x' where revision = 3", 3),
    "a kind": ("update change_sets set kind = 'import' where revision = 3", 3),
    "a time": ("update change_sets set created_at = now() where revision = 1", 1),
    "a hash": ("update change_sets set hash = sha256('x') where revision = 4", 4),
    "no hash": ("update change_sets set hash = null where revision = 4", 4),
    "first hashes": ("update change_sets set hash = null where revision < 3", 1),
    "all hashes": (
        (
            "update change_sets set hash = null where environment = 'local';"
            "update environments set hash = null where name = 'local'"
        ),
        1,
    ),
    "a value": ("update changes set after_value = '9' where revision = 2", 2),
    "a past value": ("update changes set before_value = '9' where revision = 3", 3),
    "a change less": ("delete from changes where revision = 5 and key = 'c'", 5),
    "a secret": (
        (
            "update changes set after_sealed = other.after_sealed from changes as other "
            "where changes.key = 's' and other.key = 't'"
        ),
        4,
    ),
    "properties": ("update property_changes set after_metadata = '{}'", 7),
    "no properties": ("delete from property_changes", 7),
    "removed": (
        "delete from change_sets where revision = 2;delete from changes where revision = 2",
        2,
    ),
    "the first removed": ("delete from change_sets where revision = 1", 1),
    "the last removed": ("delete from change_sets where revision = 7", 7),
    "reordered": (_SWAP, 2),
    "the counter back": ("update environments set revision = 5 where name = 'local'", 6),
    "the counter ahead": ("update environments set revision = 9 where name = 'local'", 8),
    "another head": ("update environments set hash = sha256('x') where name = 'local'", 7),
    "an entry's value": ("update configurations set value = '9' where key = 'a'", 6),
    "an entry's version": ("update configurations set version = 5 where key = 'c'", 5),
    "an entry's origin": ("update configurations set updated_revision = 3 where key = 'a'", 6),
    "an entry's secret": (
        (
            "update configurations set sealed = other.sealed from configurations as other "
            "where configurations.key = 's' and other.key = 't'"
        ),
        4,
    ),
    "an entry gone": ("delete from configurations where key = 'c'", 5),
    "an entry more": (
        (
            "insert into configurations (environment, key, kind, value, version, updated_revision) "
            "values ('local', 'd', 'setting', '1', 1, 3)"
        ),
        3,
    ),
    "a deleted entry back": (
        (
            "insert into configurations (environment, key, kind, value, version, updated_revision) "
            "values ('local', 'b', 'setting', '{\"n\": 1.5}', 1, 1)"
        ),
        1,
    ),
    "an entry's age": ("update configurations set created_at = now() where key = 'a'", 6),
    "an entry's last change": ("update configurations set updated_at = now() where key = 'a'", 6),
    "a time that no calendar has": (
        "update configurations set created_at = '200000-01-01' where key = 'a'",
        6,
    ),
    "a change before the first": (
        (
            "insert into changes (environment, revision, key, before_kind, before_version) "
            "values ('local', 0, 'a', 'setting', 1)"
        ),
        0,
    ),
    "a change beyond the last": (
        (
            "insert into changes (environment, revision, key, before_kind, before_version) "
            "values ('local', 99, 'a', 'setting', 1)"
        ),
        99,
    ),
    "a description beyond the last": (
        (
            "insert into property_changes select environment, 99, version, before_metadata, "
            "before_fractional, before_protected, after_metadata, after_fractional, "
            "after_protected from property_changes"
        ),
        99,
    ),
    "its metadata": ("update environments set metadata = '{}' where name = 'local'", 7),
    "its bucketing": ("update environments set fractional = 'v2' where name = 'local'", 7),
    "its metadata, as what equals it": (
        "update environments set metadata = metadata || '{\"on\": 1}' where name = 'local'",
        7,
    ),
    "unreadable metadata": (_DEEP_METADATA, 7),
    "an unreadable year": (
        "update change_sets set created_at = '200000-01-01' where revision = 2",
        2,
    ),
    "a number that has no canonical form": (
        "update changes set after_value = '1e400' where revision = 6",
        6,
    ),
    "an unreadable value": (
        (
            "update changes set after_value = (repeat('[', 4000) || repeat(']', 4000))::jsonb "
            "where revision = 6"
        ),
        6,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("statements", "revision"), _TAMPERINGS.values(), ids=_TAMPERINGS)
async def test_tampering_is_found_with_its_first_revision(
    written: Service, server: Server, statements: str, revision: int
) -> None:
    _tamper(server, statements)

    outcome = await _verify(written)

    assert isinstance(outcome, Broken)
    assert outcome.revision == revision, outcome
    assert "hidden" not in outcome.reason


@pytest.mark.parametrize(
    "statement",
    [
        "update environments set metadata = '{\"a\": 1}' where name = 'local'",
        "update environments set fractional = 'v2' where name = 'local'",
        "update environments set protected = true where name = 'local'",
    ],
)
async def test_unchanged_properties_must_be_the_defaults(
    service: Service, server: Server, statement: str
) -> None:
    _tamper(server, statement)

    assert isinstance(await _verify(service), Broken)


@pytest.mark.parametrize(
    ("statement", "key"),
    [
        ("update configurations set value = '9' where key = 'a'", "a"),
        ("delete from configurations where key = 'a'", "a"),
        ("update environments set protected = true where name = 'local'", None),
    ],
)
async def test_state_before_that_differs_from_history_is_broken(
    written: Service, server: Server, statement: str, key: str | None
) -> None:
    """Otherwise the owner of the tables could let a later write cover the traces."""
    _tamper(server, statement)
    if key is None:
        headers = {"If-Match": '"2"'}
        answer = await written.client.patch(LOCAL, json={"metadata": {"n": 1}}, headers=headers)
    else:
        version = 0 if statement.startswith("delete") else 4
        body = {"operations": [_put(key, version, 5)]}
        answer = await written.client.post(f"{LOCAL}/changes", json=body)
    assert answer.status == 200

    outcome = await _verify(written)

    assert isinstance(outcome, Broken)
    assert outcome.revision == 8
    assert "before it than the history" in outcome.reason


@pytest.mark.slow
async def test_large_change_sets_are_read_in_small_pages(service: Service, server: Server) -> None:
    """PostgreSQL's compression does not matter. A single large one needs several statements."""
    keys = [f"k{number}" for number in range(28)]
    for first in range(0, 28, 4):
        puts = [_put(key, 0, "x" * 200_000) for key in keys[first : first + 4]]
        await service.client.post(f"{LOCAL}/changes", json={"operations": puts})
    _tamper(server, "update configurations set description = 'x' where key = 'k9'")
    changed = await _verify(service)
    _tamper(server, "update configurations set description = null where key = 'k9'")
    deletes = [{"op": "delete", "key": key, "version": 1} for key in keys]
    await service.client.post(f"{LOCAL}/changes", json={"operations": deletes})

    asked: list[str] = []
    async with consistent_read(service.app[DATABASE]) as connection:
        with connection.query_logger(lambda asking: asked.append(asking.query)):
            read = [page async for page in pages(connection, "local", 0)]

    # The last key, so it is on another page than the first.
    assert isinstance(changed, Broken)
    assert changed.revision == 3
    assert [[item.revision for item in page] for page in read] == [[1, 2, 3, 4, 5, 6], [7, 8]]
    assert sum("before_description" in query for query in asked) == 4
    assert isinstance(await _verify(service), Verified)


async def test_history_without_its_end_is_found_by_heads(written: Service, server: Server) -> None:
    head = await _head(written)
    _tamper(
        server,
        "delete from property_changes; delete from change_sets "
        "where revision = 7; update environments set revision = 6, metadata = '{}', version = 1, "
        "hash = (select hash from change_sets where environment = 'local' and revision = 6) "
        "where name = 'local'",
    )

    assert isinstance(await _verify(written), Verified)
    outcome = await _verify(written, [head])

    assert isinstance(outcome, Broken)
    assert outcome.revision == 7
    assert "is missing" in outcome.reason


async def _rewrite(written: Service, server: Server) -> None:
    """Rewrite the whole history, with another message and matching hashes."""
    _tamper(server, "update change_sets set message = 'never' where revision = 2")
    previous = GENESIS
    async with consistent_read(written.app[DATABASE]) as reading:
        stored = [link_ async for page in pages(reading, "local", 0) for link_ in page]
    for item in stored:
        previous = link_hash(previous, item)
        with server.admin("suite") as connection:
            connection.execute(
                "update flagstone.change_sets set hash = %s where revision = %s",
                [previous, item.revision],
            )
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.environments set hash = %s where name = 'local'", [previous]
        )


async def test_rewritten_history_is_found_by_heads(written: Service, server: Server) -> None:
    head = await _head(written)
    await _rewrite(written, server)

    assert isinstance(await _verify(written), Verified)
    outcome = await _verify(written, [head])

    assert isinstance(outcome, Broken)
    assert outcome.revision == 7
    assert "was rewritten" in outcome.reason


async def test_export_continues_from_the_last_head_in_the_file(
    written: Service, tmp_path: Path
) -> None:
    file = tmp_path / "folder" / "heads.jsonl"
    export = _export(written, file)

    await export.run_once()
    await export.run_once()
    await _export(written, file).run_once()

    (head,) = read_heads(file, {KEY})
    assert (head.environment, head.revision) == ("local", 7)
    with file.open("a") as lines:
        lines.writelines("0" * 4_000 + "\n" for _ in range(300))
    assert last_heads(file, KEY) == {"local": head}
    assert file.stat().st_mode & 0o777 == 0o600
    assert isinstance(await _verify(written, [head]), Verified)
    assert (export.failure, export.broken) == (None, {})
    file.unlink()  # moved away by an operator; the export remembers its last head
    await export.run_once()
    assert not file.exists()


def _export(written: Service, file: Path) -> HeadExport:
    return HeadExport(written.app[DATABASE], file, Secret("k" * 32))


async def test_export_is_retried_within_seconds_of_a_failure(
    written: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.head_export.EXPORT_SECONDS", 3_600)
    monkeypatch.setattr("app.audit.head_export.RETRY_SECONDS", 0.01)
    file = tmp_path / "folder/heads.jsonl"
    file.parent.write_text("in the way")
    export = _export(written, file)
    exporting = asyncio.create_task(export.run())

    async def has_failed() -> bool:
        return export.failure is not None

    async def is_exported() -> bool:
        return export.exported_at is not None and export.failure is None

    try:
        await until(has_failed)
        file.parent.unlink()
        await until(is_exported)
    finally:
        exporting.cancel()

    assert read_heads(file, {KEY})


@pytest.mark.parametrize("restarted", [False, True])
async def test_export_does_not_sign_a_rewritten_history(
    written: Service, server: Server, tmp_path: Path, *, restarted: bool
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    await _rewrite(written, server)

    export = _export(written, file) if restarted else export
    await export.run_once()

    # A faster follower has begun a new epoch by now.
    (result,) = (export.broken or export.replaced).values()
    assert result.startswith("revision 7 differs from the signed head")
    assert len(read_heads(file, {KEY})) == (1 if export.broken else 2)


async def test_new_epoch_does_not_hide_a_lost_signed_history(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    await _rewrite(written, server)
    _tamper(server, "update environments set epoch = gen_random_uuid() where name = 'local'")

    for _ in range(2):
        await export.run_once()

    assert export.broken == {}
    assert export.replaced["local"].startswith("revision 7 differs from the signed head")
    old, new = heads = read_heads(file, {KEY})
    assert old.epoch != new.epoch
    assert isinstance(await _verify(written, heads), Broken)
    async with consistent_read(written.app[DATABASE]) as connection:
        since = await verify(connection, "local", heads=heads, current_epoch=True)
    assert isinstance(since, Verified)
    assert since.heads == 1


# Objects that PostgreSQL would use without a qualified name: with the same types, in the
# schema of the owner, which comes before pg_catalog.
_ANSWERS_IN_ITS_PLACE = """
create table flagstone.genuine as select * from flagstone.schema_fingerprints;
grant select on flagstone.genuine to public;
create function flagstone.jsonb_build_array(
    bigint, text, text, text, text, text, bigint, text, text[], text[], boolean, text
) returns jsonb language sql stable as $$
    select pg_catalog.jsonb_build_array(
        id, pg_catalog.to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US'), action,
        migration, instance, session_role, server_version, encode(fingerprint, 'hex'), facts,
        drifted, recording, message
    ) from flagstone.genuine where id = $1
$$;
"""
_FORGERIES = [
    "update schema_fingerprints set fingerprint = sha256('')",
    "update schema_fingerprints set at = at + interval '1 microsecond'",
    "update schema_fingerprints set facts = array_append(facts, 'made by hand')",
    "update schema_fingerprints set message = 'was meant'",
    "update schema_fingerprints set recording = not recording",
    "delete from schema_fingerprints",
    f"{_ANSWERS_IN_ITS_PLACE} update schema_fingerprints set message = 'was meant'",  # noqa: S608
]


@pytest.mark.parametrize("forgery", _FORGERIES)
async def test_rewritten_expected_schema_is_reported(
    written: Service, server: Server, tmp_path: Path, forgery: str
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    with server.admin("suite") as connection:
        connection.execute("set search_path = pg_temp, flagstone")
        connection.execute("set session_replication_role = replica")
        connection.execute("create temporary table stored as select * from schema_fingerprints")
        connection.execute(forgery.encode())
        try:
            await export.run_once()
            await export.run_once()
            outcome = await _verify(written, read_heads(file, {KEY}))
        finally:
            connection.execute(
                "truncate schema_fingerprints;"
                "insert into schema_fingerprints overriding system value select * from stored;"
                "drop table if exists flagstone.genuine;"
                "drop function if exists flagstone.jsonb_build_array"
            )

    assert export.broken == {}
    assert export.replaced == {"local": f"revision 7 {_EXPECTED_OTHERWISE}"}
    assert isinstance(outcome, Broken)
    assert (outcome.revision, outcome.reason) == (7, _EXPECTED_OTHERWISE)
    # With the current expected schema, because the history is intact.
    first, second = read_heads(file, {KEY})
    assert first.hash == second.hash
    assert first.schema_hash != second.schema_hash


_EXPECTED_OTHERWISE = "was signed with another expected schema than is stored for that time"


async def test_new_expected_schema_is_signed_at_same_revision(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    with server.admin("suite") as connection:
        connection.execute("set search_path = flagstone")
        row = connection.execute(
            "insert into schema_fingerprints (action, migration, instance, server_version, "
            "fingerprint, facts, recording) select action, migration, 'another', server_version, "
            "fingerprint, facts, recording from schema_fingerprints order by id desc limit 1 "
            "returning id"
        ).fetchone()
        assert row is not None
        try:
            await export.run_once()
            outcome = await _verify(written, read_heads(file, {KEY}))
        finally:
            connection.execute("set session_replication_role = replica")
            connection.execute("delete from schema_fingerprints where id = %s", row)

    before, after = read_heads(file, {KEY})
    assert (before.revision, after.revision) == (7, 7)
    assert (after.schema_id,) == row
    assert before.schema_hash != after.schema_hash
    assert isinstance(outcome, Verified)
    assert outcome.heads == 2


async def test_broken_chain_in_a_new_epoch_is_not_signed(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    _tamper(
        server,
        "update change_sets set hash = sha256('x') where revision = 7; update environments "
        "set hash = sha256('x'), epoch = gen_random_uuid() where name = 'local'",
    )

    for _ in range(2):
        await export.run_once()

    assert export.broken["local"].startswith("revision 7 does not match its hash")
    assert len(read_heads(file, {KEY})) == 1


async def test_missing_environment_is_reported(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    _tamper(
        server,
        "delete from property_changes; delete from changes; delete from change_sets; "
        "delete from configurations; delete from environments where name = 'local'",
    )

    try:
        outcome = await _verify(written, read_heads(file, {KEY}))
        await export.run_once()
    finally:
        _tamper(server, "insert into environments (name, tier) values ('local', 'local')")

    assert isinstance(outcome, Broken)
    assert (outcome.revision, "as is the whole environment" in outcome.reason) == (7, True)
    assert "environment is missing" in export.broken["local"]


async def test_first_head_needs_a_verified_page(
    written: Service, server: Server, tmp_path: Path
) -> None:
    export = _export(written, tmp_path / "heads.jsonl")
    _tamper(server, "update change_sets set actor = 'x' where revision = 6")

    await export.run_once()

    assert export.broken["local"].startswith("revision 6 does not match its hash")
    assert not (tmp_path / "heads.jsonl").exists()


async def test_unreadable_row_does_not_stop_the_export(
    written: Service, server: Server, tmp_path: Path
) -> None:
    export = _export(written, tmp_path / "heads.jsonl")
    _tamper(server, _DEEP_METADATA)

    await export.run_once()

    assert export.failure is not None


@pytest.mark.parametrize("torn", [b'{"at":"2026-11-', b"{", b"\0" * 5_000])
async def test_torn_line_does_not_spoil_the_next(
    written: Service, tmp_path: Path, torn: bytes
) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_bytes(torn)

    await _export(written, file).run_once()

    (head,) = read_heads(file, {KEY})
    assert head.revision == 7


async def test_pipe_instead_of_the_file_does_not_block_the_export(
    written: Service, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    file.unlink()
    os.mkfifo(file)
    await written.client.post(f"{LOCAL}/changes", json={"operations": [_put("a", 4, 0)]})

    async with asyncio.timeout(HANG_SECONDS):
        await export.run_once()

    assert export.failure == "is not a regular file"


async def test_export_verifies_changes_since_the_last_head(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    for version in (4, 5):
        await written.client.post(f"{LOCAL}/changes", json={"operations": [_put("a", version, 0)]})
    _tamper(server, "update change_sets set actor = 'x' where revision = 8")

    await export.run_once()

    assert list(export.broken) == ["local"]
    assert export.broken["local"].startswith("revision 8 does not match its hash")


async def test_export_continues_in_a_new_epoch(
    written: Service, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    export = _export(written, file)
    await export.run_once()
    _tamper(server, "update environments set epoch = gen_random_uuid() where name = 'local'")

    await export.run_once()

    first, second = read_heads(file, {KEY})
    assert first.hash == second.hash
    assert first.epoch != second.epoch
    assert export.broken == {}


async def test_health_warns_of_an_export_that_does_not_finish(written: Service) -> None:
    export = written.component(HeadExport)
    before, export.exported_at = export.exported_at, datetime.now(UTC) - timedelta(minutes=6)
    try:
        report = await (await written.client.get("/health")).json()
    finally:
        export.exported_at = before

    assert report["checks"]["audit:heads"][0]["status"] == "warn"
    assert report["checks"]["audit:heads"][0]["output"] == "the export does not finish"


async def test_health_warns_of_a_broken_chain_and_stays_ready(written: Service) -> None:
    export = written.component(HeadExport)
    export.broken["local"] = "revision 3 is missing"
    export.replaced["staging"] = "revision 7 is gone"

    answer = await written.client.get("/health")
    report = await answer.json()
    measured = await (await written.client.get("/metrics")).text()
    export.broken.clear()
    export.replaced.clear()

    assert (answer.status, report["status"]) == (200, "warn")
    reported = report["checks"]["audit:chain"][0]["output"]
    assert reported == "staging: revision 7 is gone; local: revision 3 is missing"
    assert re.search(r"^flagstone_audit_broken_chains(\{.*\})? 2\.0$", measured, re.MULTILINE)


async def test_unwritable_file_is_reported_and_retried(written: Service, tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    file.mkdir()
    export = _export(written, file)

    await export.run_once()
    failure = export.failure
    file.rmdir()
    await export.run_once()

    assert failure is not None
    assert export.failure is None
    assert len(read_heads(file, {KEY})) == 1


async def test_forged_or_foreign_head_is_refused_with_its_line(
    written: Service, tmp_path: Path
) -> None:
    head = await _head(written)
    other = Signer(Secret("l" * 32))
    foreign = await _head(written, other)
    forged = msgspec.structs.replace(head, revision=3)
    pretended = msgspec.structs.replace(foreign, key=KEY)

    for bad in (foreign, forged, pretended, b"nonsense", b"[" * 5_000):
        file = tmp_path / f"{os.urandom(4).hex()}.jsonl"
        line = bad if isinstance(bad, bytes) else msgspec.json.encode(bad)
        file.write_bytes(msgspec.json.encode(head) + b"\n" + line + b"\n")

        with pytest.raises(AppError, match="line 2"):
            read_heads(file, {KEY})
        assert last_heads(file, KEY)["local"].revision == 7

    # A head under an earlier TOKEN_KEY.
    file = tmp_path / "heads.jsonl"
    file.write_bytes(msgspec.json.encode(head) + b"\n" + msgspec.json.encode(foreign) + b"\n")
    assert len(read_heads(file, {KEY, other.public_key})) == 2


def test_missing_file_has_no_heads(tmp_path: Path) -> None:
    assert last_heads(tmp_path / "heads.jsonl", KEY) == {}
