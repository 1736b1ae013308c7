"""Real files survive import and export over HTTP. Each import is one change set."""

import asyncio
import json
import threading
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from app.access.models import Scope
from app.configuration.changes.authority import OPERATOR_AUTHORITY
from app.configuration.changes.write_requests import CHECKS
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.transfer.document_reader import read_file
from app.configuration.transfer.documents import Mode
from app.configuration.transfer.service import ImportResult, import_document
from app.errors import Invalid, Unavailable
from app.http.keys import DATABASE
from app.secrets.reveal import VAULT
from app.threads import ThreadLimiter
from tests.conftest import Server, Service
from tests.factories import COSTLY_SCHEMA, flag
from tests.loop import longest_share
from tests.paths import SHARED_DATA
from tests.waiting import HANG_SECONDS

needs_data = pytest.mark.skipif(
    not SHARED_DATA.exists(), reason="the public example data is not here"
)


async def _load(service: Service, path: Path) -> ImportResult:
    document = read_file(path)
    imported = await service.app[DATABASE].transact(
        lambda c: import_document(
            c,
            "local",
            document,
            mode=Mode.MERGE,
            actor="test",
            message="load",
            dry_run=False,
            vault=service.app[VAULT],
            checkers=service.app[CHECKS].checkers,
            authority=OPERATOR_AUTHORITY,
        )
    )
    await service.app[FOLLOWER].refresh()
    return imported


async def _read_all(service: Service) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    after: str | None = ""
    while after is not None:
        answer = await service.client.get(
            "/v1/environments/local/configurations", params={"limit": "500", "after": after}
        )
        page = await answer.json()
        entries |= {item["key"]: item for item in page["items"]}
        after = page["next"]
    return entries


@needs_data
async def test_flagds_example_comes_back_as_it_went_in(service: Service) -> None:
    path = SHARED_DATA / "example_flags.flagd.json"
    original = json.loads(path.read_text())

    imported = await _load(service, path)

    entries = await _read_all(service)
    assert imported.revision == 1
    assert {k: v["value"] for k, v in entries.items() if v["kind"] == "flag"} == original["flags"]
    assert {k: v["value"] for k, v in entries.items() if v["kind"] == "segment"} == original.get(
        "$evaluators", {}
    )


@needs_data
async def test_757_variables_come_back_as_they_went_in(service: Service) -> None:
    path = SHARED_DATA / "laradock.env"
    original = dotenv_values(stream=StringIO(path.read_text()), interpolate=False)

    imported = await _load(service, path)
    again = await _load(service, path)

    entries = await _read_all(service)
    assert len(imported.created) == len(original) == 757
    assert {key: item["value"] for key, item in entries.items()} == original
    assert imported.revision == again.revision == 1
    assert (again.created, again.updated, again.deleted, again.unchanged) == ([], [], [], 757)


async def test_import_writes_only_differing_members(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: 1\nb: true\n")
    for key, value in (("a", 1), ("b", 1), ("c", 1)):
        await service.client.put(
            f"/v1/environments/local/configurations/{key}",
            json={"value": value, "description": "unchanged"},
            headers={"If-None-Match": "*"},
        )

    imported = await _load(service, path)

    entries = await _read_all(service)
    assert (imported.updated, imported.unchanged, imported.revision) == (["b"], 1, 4)
    assert (entries["b"]["value"], entries["b"]["description"], entries["b"]["version"]) == (
        True,
        "unchanged",
        2,
    )
    assert entries["c"]["version"] == 1


async def test_import_with_one_mistake_writes_nothing(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"a": 1, "flag": 2}')
    await service.client.put(
        "/v1/environments/local/configurations/flag",
        json={"value": flag(), "kind": "flag"},
        headers={"If-None-Match": "*"},
    )

    with pytest.raises(Invalid, match="flag is a flag already"):
        await _load(service, path)

    assert list(await _read_all(service)) == ["flag"]


# Over HTTP

LOCAL = "/v1/environments/local"
STAGING = "/v1/environments/staging"
JSON = {"Content-Type": "application/json"}


async def _fill(service: Service) -> None:
    """Entries of every kind, with all members."""
    for key, body in {
        "limit": {
            "value": 3,
            "schema": {"type": "integer", "maximum": 9},
            "description": "How many.",
        },
        "nothing": {"value": None},
        "new-checkout": {"kind": "flag", "value": {"state": "ENABLED", "variants": {"on": True}}},
        "staff": {"kind": "segment", "value": {"ends_with": [{"var": "email"}, "@example.org"]}},
    }.items():
        answer = await service.client.put(
            f"{LOCAL}/configurations/{key}", json=body, headers={"If-None-Match": "*"}
        )
        assert answer.status == 201


async def _import(
    service: Service, body: str | bytes, place: str = LOCAL, **query: str
) -> tuple[int, Any]:
    raw = body.encode() if isinstance(body, str) else body
    # A stream, since the client warns about large bodies.
    answer = await service.client.post(
        f"{place}/import", data=BytesIO(raw), params=query, headers=JSON
    )
    return answer.status, await answer.json(content_type=None)


def _without_moments(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("key", "kind", "value", "schema", "description")}


@pytest.mark.parametrize("format_", ["json", "yaml"])
async def test_export_imports_equal_into_another_environment(
    service: Service, format_: str
) -> None:
    await _fill(service)
    exported = await service.client.get(f"{LOCAL}/export", params={"format": format_})
    text = await exported.text()

    status, imported = await _import(service, text, STAGING, format=format_)
    again = await _import(service, text, STAGING, format=format_)
    back = await service.client.get(f"{STAGING}/export", params={"format": format_})

    assert exported.headers["Content-Disposition"] == f'attachment; filename="local.{format_}"'
    assert exported.headers["Flagstone-Revision"].endswith(":4")
    assert (status, imported["created"], imported["revision"]) == (
        200,
        ["limit", "new-checkout", "nothing", "staff"],
        1,
    )
    assert (again[1]["unchanged"], again[1]["revision"]) == (4, 1)
    moment = ("environment", "revision", "epoch")
    assert [line for line in (await back.text()).splitlines() if not any(m in line for m in moment)]
    local = await _read_all(service)
    answer = await service.client.get(f"{STAGING}/configurations")
    staging = {item["key"]: item for item in (await answer.json())["items"]}
    assert {k: _without_moments(v) for k, v in local.items()} == {
        k: _without_moments(v) for k, v in staging.items()
    }


@pytest.mark.usefixtures("little_time_for_checks")
async def test_import_costly_schema_names_its_key(service: Service) -> None:
    entries = {
        key: {"kind": "setting", "value": 1, "schema": schema}
        for key, schema in {"a": {"format": "date"}, "b/c": COSTLY_SCHEMA}.items()
    }
    document = {
        "flagstone": 1,
        "environment": "local",
        "revision": 1,
        "epoch": "",
        "metadata": {},
        "entries": entries,
    }

    status, problem = await _import(service, json.dumps(document))

    assert (status, problem["code"]) == (422, "schema_too_costly")
    assert [error["field"] for error in problem["errors"]] == ["b/c.schema"]
    assert await _read_all(service) == {}


async def test_earlier_revision_can_be_exported(service: Service) -> None:
    await _fill(service)

    past = await service.client.get(f"{LOCAL}/export", params={"revision": "1"})
    ahead = await service.client.get(f"{LOCAL}/export", params={"revision": "99"})

    document = json.loads(await past.text())
    assert (document["revision"], list(document["entries"])) == (1, ["limit"])
    assert ahead.status == 404


async def test_replace_deletes_entries_that_the_file_could_contain(service: Service) -> None:
    await _fill(service)

    plain = await _import(service, '{"limit": 4}', mode="replace")
    flagd = await _import(service, '{"flags": {}}', mode="replace", format="flagd")
    rest = await _read_all(service)

    assert (plain[1]["updated"], plain[1]["deleted"]) == (["limit"], ["nothing"])
    assert flagd[1]["deleted"] == ["new-checkout", "staff"]
    assert (rest["limit"]["value"], rest["limit"]["description"]) == (4, "How many.")
    assert list(rest) == ["limit"]


async def test_dry_run_shows_the_difference_and_writes_nothing(service: Service) -> None:
    await _fill(service)

    status, shown = await _import(
        service, '{"limit": 4, "more": 1}', mode="replace", dry_run="true", message="why"
    )

    assert (status, shown["dry_run"]) == (200, True)
    assert (shown["created"], shown["updated"], shown["deleted"]) == (
        ["more"],
        ["limit"],
        ["nothing"],
    )
    changes = {change["key"]: change for change in shown["changes"]}
    assert changes["limit"]["patch"] == [{"op": "replace", "path": "", "value": 4}]
    assert changes["nothing"]["after"] is None
    environment = await (await service.client.get(LOCAL)).json()
    assert environment["revision"] == 4


async def test_import_is_one_change_set_with_its_message(service: Service) -> None:
    _, imported = await _import(service, '{"a": 1, "b": 2}', message="From the old system")

    change_set = await (await service.client.get(f"{LOCAL}/changes/1")).json()
    assert (change_set["kind"], change_set["message"]) == ("import", "From the old system")
    assert [change["key"] for change in change_set["changes"]] == imported["created"]


async def test_import_may_be_repeated(service: Service) -> None:
    headers = JSON | {"Idempotency-Key": "once"}

    answers = [
        await service.client.post(f"{LOCAL}/import", data=body, headers=headers)
        for body in ('{"a": 1}', '{"a": 1}', '{"a": 2}')
    ]

    assert [answer.status for answer in answers] == [200, 200, 409]
    assert await answers[0].json() == await answers[1].json()


@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "code"),
    [
        ("{", {}, JSON, 400, "request_malformed"),
        ("[]", {}, JSON, 400, "request_malformed"),
        ('{"a": NaN}', {}, JSON, 400, "request_malformed"),
        ('{"a b": 1}', {}, JSON, 422, "key_invalid"),
        ('{"limit": "x"}', {}, JSON, 422, "entries_invalid"),
        ('{"staff": 1}', {}, JSON, 422, "kind_fixed"),
        ("a: [", {"format": "yaml"}, JSON, 400, "request_malformed"),
        ("{}", {"format": "xml"}, JSON, 400, "request_malformed"),
        ("{}", {"mode": "merge!"}, JSON, 400, "request_malformed"),
        ("{}", {"message": "x" * 1001}, JSON, 400, "request_malformed"),
        ("{}", {}, {"Content-Type": "application/xml"}, 415, "content_type_unsupported"),
        ('{"flags": 1}', {"format": "flagd"}, JSON, 400, "request_malformed"),
        (
            '{"flagstone": 1, "entries": {"s": {"kind": "secret", "value": null}}}',
            {},
            JSON,
            422,
            "entries_invalid",
        ),
    ],
)
async def test_invalid_import_is_refused_by_name_and_writes_nothing(
    service: Service,
    body: str,
    query: dict[str, str],
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    await _fill(service)

    refused = await service.client.post(f"{LOCAL}/import", data=body, params=query, headers=headers)

    problem = await refused.json(content_type=None)
    assert (refused.status, problem["code"]) == (status, code)
    assert status == 415 or problem["errors"]
    environment = await (await service.client.get(LOCAL)).json()
    assert environment["revision"] == 4


@pytest.mark.slow
async def test_ten_thousand_entries_do_not_hold_the_loop(service: Service) -> None:
    runs: list[tuple[Any, int, Any, str]] = []

    async def import_and_export() -> None:
        attempt = len(runs)
        document = {f"many/{n}": {"n": n + attempt, "text": "x" * 1000} for n in range(10_000)}
        status, imported = await _import(service, await asyncio.to_thread(json.dumps, document))
        # A request would wait only 2 s for the revision.
        follower = service.app[FOLLOWER]
        await follower.at_least("local", imported["revision"], seconds=HANG_SECONDS)
        exported = await service.client.get(f"{LOCAL}/export")
        runs.append((document, status, imported, await exported.text()))

    share = await longest_share(import_and_export, limit=0.1)

    assert len(runs[0][2]["created"]) == 10_000
    for document, status, _, text in runs:
        assert status == 200
        assert {k: v["value"] for k, v in json.loads(text)["entries"].items()} == document
    assert share < 0.1


async def test_body_over_16_mebibytes_is_refused_unread(
    service: Service,
) -> None:
    status, problem = await _import(service, b"x" * (16 * 1024 * 1024 + 1))

    assert (status, problem["code"]) == (413, "body_too_large")


async def test_importing_needs_to_write_and_to_read(service: Service) -> None:
    for scopes in ((Scope.WRITE,), (Scope.READ,)):
        token = await service.token(*scopes)
        refused = await service.stranger.post(
            f"{LOCAL}/import", data="{}", headers=JSON | {"X-API-Key": token}
        )
        assert refused.status == 403


async def test_flagd_can_be_pointed_at_an_environment(service: Service) -> None:
    """Flagd's HTTP sync polls, and gets 304 when nothing has changed."""
    await _fill(service)
    place = f"{LOCAL}/flags.json"

    first = await service.client.get(place)
    tag = {"If-None-Match": first.headers["ETag"]}
    await service.client.put(
        f"{LOCAL}/configurations/limit", json={"value": 5}, headers={"If-Match": "*"}
    )
    unchanged = await service.client.get(place, headers=tag)
    await service.client.delete(f"{LOCAL}/configurations/staff", headers={"If-Match": "*"})
    changed = await service.client.get(place, headers=tag)

    document = await first.json()
    assert first.content_type == "application/json"
    assert document["flags"].keys() == {"new-checkout"}
    assert document["$evaluators"].keys() == {"staff"}
    assert (unchanged.status, changed.status) == (304, 200)
    assert "$evaluators" not in await changed.json()


async def test_large_documents_wait_for_each_other_within_a_limit() -> None:
    """Work occupies its lane until its thread has ended."""
    ended = threading.Event()
    limiter = ThreadLimiter(0.2)
    first = asyncio.create_task(limiter.run("first", ended.wait))
    await asyncio.sleep(0)
    first.cancel()

    with pytest.raises(Unavailable, match="other large documents"):
        await limiter.run("second", lambda: None)
    ended.set()

    assert await limiter.run("third", lambda: 3) == 3


async def test_stored_answer_contains_no_values(service: Service, server: Server) -> None:
    body = json.dumps({f"k{n}": "x" * 10_000 for n in range(20)})
    headers = JSON | {"Idempotency-Key": "first"}

    answer = await service.client.post(f"{LOCAL}/import", data=body, headers=headers)

    with server.admin("suite") as connection:
        row = connection.execute("select max(length(answer)) from flagstone.idempotency_keys")
        stored = row.fetchone()
    assert answer.status == 200
    assert stored is not None
    assert int(str(stored[0])) < 2_000


async def test_expect_100_continue_is_answered(service: Service) -> None:
    """Curl sends this header for every body over a mebibyte."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {LOCAL}/import HTTP/1.1\r\nHost: x\r\nX-API-Key: {service.admin_token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2000000\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())

    invited = await asyncio.wait_for(reader.readline(), HANG_SECONDS)
    writer.close()

    assert invited == b"HTTP/1.1 100 Continue\r\n"


async def test_compressed_body_is_refused(service: Service) -> None:
    refused = await service.client.post(
        f"{LOCAL}/import", data="{}", headers=JSON | {"Content-Encoding": "gzip"}
    )

    assert refused.status == 415


BAD_FLAGS = {
    "flags": {
        "one": {"state": "ON", "variants": {"on": True}},
        "two": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "off"},
        "three": {"state": "ENABLED", "variants": {"on": True}},
    }
}


async def test_key_with_underscore_goes_in_and_out(service: Service) -> None:
    answer = await service.client.post(
        f"{LOCAL}/import", data="_EXTRAS=\n__PUBLIC=1\n", params={"format": "env"}
    )
    put = await service.client.put(
        f"{LOCAL}/configurations/_x/y", json={"value": 1}, headers={"If-None-Match": "*"}
    )
    exported = await service.client.get(f"{LOCAL}/export", params={"format": "env"})

    assert (answer.status, put.status) == (200, 201)
    assert (await exported.text()).splitlines()[1:] == ["_EXTRAS=''", "__PUBLIC=1"]


ENV_OF_SECRETS = (
    "DB_PASSWORD=hunter22\nAPI_KEY=k-1\nPORT=1\nEMPTY_TOKEN=\nSESSION_SECRET=s\nMONKEY=1\n"
)


async def _import_env(service: Service, text: str, **query: str) -> Any:
    answer = await service.client.post(
        f"{LOCAL}/import", data=text, params={"format": "env", **query}
    )
    return await answer.json()


async def test_env_names_that_look_like_secrets_are_warned(service: Service) -> None:
    imported = await _import_env(service, ENV_OF_SECRETS)

    (warning,) = imported["warnings"]
    assert warning.startswith("API_KEY, DB_PASSWORD, SESSION_SECRET: look like secrets")


async def test_env_names_of_secrets_are_stored_as_secrets(service: Service) -> None:
    imported = await _import_env(service, ENV_OF_SECRETS, secret="*PASSWORD*,*_KEY,SESSION_*")

    entries = await _read_all(service)
    secrets = {key for key, item in entries.items() if item["kind"] == "secret"}
    assert imported["warnings"] == []
    assert secrets == {"DB_PASSWORD", "API_KEY", "SESSION_SECRET"}
    assert all(entries[key]["value"] is None for key in secrets)
    revealed = await service.client.get(f"{LOCAL}/configurations/API_KEY?reveal=true")
    assert (await revealed.json())["value"] == "k-1"


async def test_env_import_keeps_stored_secrets_secret(service: Service) -> None:
    await _import_env(service, "API_KEY=old\n", secret="*_KEY")

    imported = await _import_env(service, "API_KEY=new\nPORT=1\n")

    entry = (await _read_all(service))["API_KEY"]
    assert (imported["updated"], imported["warnings"]) == (["API_KEY"], [])
    assert (entry["kind"], entry["value"]) == ("secret", None)


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ('{"flags": {}}', {"format": "flagd", "secret": "*"}),
        ('{"flagstone": 1, "entries": {}}', {"format": "json", "secret": "*"}),
        ("A=1", {"format": "env", "secret": ""}),
        ("A=1", {"format": "env", "secret": "x" * 256}),
        ("A=1", {"format": "env", "secret": ",".join(["x"] * 51)}),
    ],
)
async def test_patterns_of_secrets_that_cannot_hold_are_refused(
    service: Service, body: str, query: dict[str, str]
) -> None:
    status, problem = await _import(service, body, **query)

    assert (status, [error["field"] for error in problem["errors"]]) == (422, ["secret"])


async def test_every_mistake_of_a_document_of_flags_is_named(service: Service) -> None:
    status, refused = await _import(service, json.dumps(BAD_FLAGS), format="flagd")

    fields = {error["field"] for error in refused["errors"]}
    assert (status, refused["code"]) == (422, "entries_invalid")
    assert {field.split(".")[0] for field in fields} == {"one", "two"}
    assert await _read_all(service) == {}


async def test_lenient_import_warns_instead(service: Service) -> None:
    status, imported = await _import(service, json.dumps(BAD_FLAGS), format="flagd", lenient="true")

    evaluated = await service.client.post(f"{LOCAL}/ofrep/v1/evaluate/flags", json={})
    flags = {outcome["key"]: outcome for outcome in (await evaluated.json())["flags"]}
    assert (status, imported["created"]) == (200, ["one", "three", "two"])
    assert {warning.split(".")[0] for warning in imported["warnings"]} == {"one", "two"}
    assert [flags[key].get("errorCode") for key in ("one", "two", "three")] == [
        "PARSE_ERROR",
        "PARSE_ERROR",
        None,
    ]
