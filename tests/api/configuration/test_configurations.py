"""Configurations over HTTP: writes under an expected version, and reads."""

import asyncio
import os
import re
import uuid

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.conftest import Server, Service
from tests.factories import COSTLY_SCHEMA, flag
from tests.waiting import HANG_SECONDS

PATH = "/v1/environments/local/configurations/"
NEW = {"If-None-Match": "*"}
ORDINARY_PATTERN = {"type": "string", "pattern": "^.{1,255}$"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**53,
        1.5,
        1e300,
        -0.0,
        "",
        "Zoë 🚩",
        [],
        {},
        [[]],
        {"a": {"b": [1, None]}},
    ],
)
async def test_written_value_is_read_back_as_equal_json(service: Service, value: object) -> None:
    written = await service.client.put(PATH + "any", json={"value": value}, headers=NEW)
    read = await service.client.get(PATH + "any")

    assert written.status == 201
    body = await read.json()
    assert body["value"] == value
    assert type(body["value"]) is type(value)


async def test_write_returns_version_and_revision(service: Service) -> None:
    first = await service.client.put(PATH + "a/b.c", json={"value": 1}, headers=NEW)
    second = await service.client.put(
        PATH + "a/b.c", json={"value": 2}, headers={"If-Match": '"1"'}
    )

    answer = await second.json()
    assert (first.status, first.headers["ETag"], first.headers["Location"]) == (
        201,
        f'"1-{answer["epoch"][:8]}"',
        PATH + "a/b.c",
    )
    assert (second.status, answer["version"], answer["revision"]) == (200, 2, 2)
    assert second.headers["Flagstone-Revision"] == f"{answer['epoch']}:2"


async def test_etag_serves_the_next_write_and_not_modified(service: Service) -> None:
    written = await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    tag = written.headers["ETag"]

    unchanged = await service.client.get(PATH + "k", headers={"If-None-Match": tag})
    again = await service.client.put(PATH + "k", json={"value": 2}, headers={"If-Match": tag})
    changed = await service.client.get(PATH + "k", headers={"If-None-Match": tag})

    assert (unchanged.status, again.status, changed.status) == (304, 200, 200)


async def test_location_of_a_new_entry_can_be_read(service: Service) -> None:
    result = await service.client.put(PATH + "a?dry_run=false", json={"value": 1}, headers=NEW)

    read = await service.client.get(result.headers["Location"])

    assert (result.status, read.status) == (201, 200)


async def test_percent_encoded_slash_is_the_same_key(service: Service) -> None:
    await service.client.put(PATH + "a/b", json={"value": 1}, headers=NEW)

    read = await service.client.get(service.url + PATH + "a%2Fb")

    assert read.status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "condition_missing"),
        ({"If-Match": '"7"'}, 412, "version_stale"),
        ({"If-Match": 'W/"7"'}, 412, "version_stale"),
        ({"If-Match": '"7-gzip"'}, 412, "version_stale"),
        ({"If-Match": '"1-other"'}, 412, "version_stale"),
        ({"If-Match": '"1-gzip-gzip-gzip"'}, 412, "version_stale"),
        ({"If-Match": '"other"'}, 412, "version_stale"),
        ({"If-Match": '"1-00000000"'}, 412, "version_stale"),
        ({"If-Match": "1"}, 400, "request_malformed"),
        ({"If-None-Match": "*"}, 412, "version_stale"),
        ({"If-None-Match": '"1"'}, 400, "request_malformed"),
        ({"If-None-Match": "*", "If-Match": '"1"'}, 400, "request_malformed"),
    ],
)
async def test_write_with_a_wrong_condition_changes_nothing(
    service: Service, headers: dict[str, str], status: int, code: str
) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)

    refused = await service.client.put(PATH + "k", json={"value": 2}, headers=headers)

    assert (refused.status, (await refused.json())["code"]) == (status, code)
    read = await service.client.get(PATH + "k")
    assert ((await read.json())["value"], read.headers["ETag"][:3]) == (1, '"1-')
    environment = await service.client.get("/v1/environments/local")
    assert (await environment.json())["revision"] == 1


async def test_stale_write_gets_the_current_version(service: Service) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)

    refused = await service.client.put(PATH + "k", json={"value": 2}, headers={"If-Match": '"9"'})

    assert re.fullmatch('"1-[0-9a-f]{8}"', refused.headers["ETag"])
    assert (await refused.json())["version"] == 1


async def test_if_match_any_needs_an_entry(service: Service) -> None:
    absent = await service.client.put(PATH + "k", json={"value": 1}, headers={"If-Match": "*"})
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    present = await service.client.put(PATH + "k", json={"value": 2}, headers={"If-Match": "*"})

    assert (absent.status, present.status) == (412, 200)


async def test_deleted_key_continues_its_versions_when_created_again(service: Service) -> None:
    """An old If-Match must not match an entry that was deleted and created again."""
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    deleted = await service.client.delete(PATH + "k", headers={"If-Match": '"1"'})
    gone = await service.client.get(PATH + "k")
    made_anew = await service.client.put(PATH + "k", json={"value": 2}, headers=NEW)

    assert (deleted.status, (await deleted.json())["version"]) == (200, None)
    assert gone.status == 404
    assert made_anew.headers["ETag"].startswith('"2-')


async def test_deletion_needs_the_version(service: Service) -> None:
    missing = await service.client.delete(PATH + "k")
    unknown = await service.client.delete(PATH + "k", headers={"If-Match": '"1"'})

    assert (missing.status, unknown.status) == (428, 412)


async def test_unchanged_entry_is_not_modified(service: Service) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)

    etag = (await service.client.get(PATH + "k")).headers["ETag"]
    for tag in (etag, f"W/{etag}", f'"0", {etag}', "*"):
        answer = await service.client.get(PATH + "k", headers={"If-None-Match": tag})
        assert (answer.status, await answer.read()) == (304, b"")
    changed = await service.client.get(PATH + "k", headers={"If-None-Match": '"2"'})
    assert changed.status == 200


# ETags as rewritten by proxies that compress: nginx, Apache and Caddy, Jetty, others.
PROXIED = ("W/{}", "{0}-gzip", "{0}-br", "{0}-zstd", "{0}--gzip", "{0};br", "W/{0}-gzip;br")


@pytest.mark.parametrize("form", PROXIED)
async def test_etag_from_a_proxy_is_the_same_tag(service: Service, form: str) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    etag = (await service.client.get(PATH + "k")).headers["ETag"]
    document = "/v1/environments/local/flags.json"
    of_flags = (await service.client.get(document)).headers["ETag"]

    seen = [
        await service.client.get(path, headers={"If-None-Match": f'"x", {proxied(form, tag)}'})
        for path, tag in ((PATH + "k", etag), (PATH + "k?revision=1", etag), (document, of_flags))
    ]
    written = await service.client.put(
        PATH + "k", json={"value": 2}, headers={"If-Match": proxied(form, etag)}
    )
    deleted = await service.client.delete(
        PATH + "k", headers={"If-Match": proxied(form, written.headers["ETag"])}
    )

    assert [answer.status for answer in seen] == [304] * 3
    assert (written.status, deleted.status) == (200, 200)


def proxied(form: str, tag: str) -> str:
    """Return a tag as a proxy rewrites it, with the suffix inside the quotes."""
    weak, _, suffix = form.partition("{}" if "{}" in form else "{0}")
    return f'{weak}{tag[:-1]}{suffix}"'


async def test_id_names_an_entry_from_creation_to_deletion(service: Service) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    first = (await (await service.client.get(PATH + "k")).json())["id"]
    await service.client.put(PATH + "k", json={"value": 2}, headers={"If-Match": '"1"'})
    places = ("k", "k?revision=1", "?revision=1", "?limit=1")
    seen = []
    for place in places:
        result = await (await service.client.get((PATH + place).replace("/?", "?"))).json()
        seen.append(result["items"][0]["id"] if "items" in result else result["id"])
    await service.client.delete(PATH + "k", headers={"If-Match": '"2"'})
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    again = (await (await service.client.get(PATH + "k")).json())["id"]
    past = await (await service.client.get(PATH + "k?revision=1")).json()

    assert uuid.UUID(first) != uuid.UUID(again)
    assert set(seen) == {first}
    assert "id" not in past


async def test_write_of_another_kind_is_refused(service: Service) -> None:
    await service.client.put(PATH + "k", json={"value": flag(), "kind": "flag"}, headers=NEW)

    refused = await service.client.put(PATH + "k", json={"value": 1}, headers={"If-Match": '"1"'})

    assert (refused.status, (await refused.json())["code"]) == (409, "kind_fixed")


async def test_value_against_its_schema_is_refused(service: Service) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    good = await service.client.put(
        PATH + "k", json={"value": {"n": 1}, "schema": schema}, headers=NEW
    )
    bad = await service.client.put(
        PATH + "k", json={"value": {"n": "hunter2"}, "schema": schema}, headers={"If-Match": '"1"'}
    )
    no_schema = await service.client.put(
        PATH + "x", json={"value": 1, "schema": {"type": "nonsense"}}, headers=NEW
    )
    elsewhere = await service.client.put(
        PATH + "x", json={"value": 1, "schema": {"$ref": "https://example.org/s"}}, headers=NEW
    )

    assert good.status == 201
    text = await bad.text()
    assert bad.status == 422
    assert (await bad.json())["errors"][0]["field"] == "value.n"
    assert "hunter2" not in text
    assert (no_schema.status, elsewhere.status) == (422, 422)


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"allOf": [{"$id": "http://a.example/b", "$ref": "#/c"}]}, "schema.allOf[0].$id"),
        ({"properties": {"a": {"$anchor": "b"}}}, "schema.properties.a.$anchor"),
        ({"$dynamicRef": "#x"}, "schema.$dynamicRef"),
        ({"items": {"$ref": "https://a.example/b"}}, "schema.items.$ref"),
        ({"$ref": "#"}, "schema.$ref"),
        (
            {
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                "$ref": "#/$defs/a",
            },
            "schema.$ref",
        ),
        ({"$ref": "#/nowhere"}, "schema"),
        ({"items": {"type": "nonsense"}}, "schema.items.type"),
        ({"items": {"pattern": r"(?i)\p{L}{100}"}}, "schema.items.pattern"),
        ({"items": {"pattern": "(?=a)"}}, "schema.items.pattern"),
    ],
)
async def test_put_unsupported_schema_names_its_path(
    service: Service, schema: dict[str, object], field: str
) -> None:
    refused = await service.client.put(PATH + "k", json={"value": 1, "schema": schema}, headers=NEW)

    problem = await refused.json(content_type=None)
    assert (refused.status, problem["code"]) == (422, "field_invalid")
    assert problem["errors"][0]["field"] in {field, field.replace("$ref", "$defs.a.$ref")}


@pytest.mark.usefixtures("little_time_for_checks")
async def test_put_costly_schema_is_refused(service: Service) -> None:
    refused = await service.client.put(
        PATH + "k", json={"value": 1, "schema": COSTLY_SCHEMA}, headers=NEW
    )
    missing = await service.client.get(PATH + "k")
    ordinary = await service.client.put(
        PATH + "k", json={"value": "a" * 255, "schema": ORDINARY_PATTERN}, headers=NEW
    )

    problem = await refused.json(content_type=None)
    assert (refused.status, problem["code"]) == (422, "schema_too_costly")
    assert [error["field"] for error in problem["errors"]] == ["schema"]
    assert (missing.status, ordinary.status) == (404, 201)


async def test_put_value_breaks_any_of_names_first_item(service: Service) -> None:
    schema = {"items": {"anyOf": [{"const": f"c{n}"} for n in range(150)]}}

    refused = await service.client.put(
        PATH + "k", json={"value": ["x"] * 4_500, "schema": schema}, headers=NEW
    )

    problem = await refused.json(content_type=None)
    assert (refused.status, problem["code"]) == (422, "value_against_schema")
    assert [error["field"] for error in problem["errors"]] == ["value[0]"]


async def test_schema_with_references_is_accepted(service: Service) -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}

    good = await service.client.put(
        PATH + "k", json={"value": [1, 2], "schema": schema}, headers=NEW
    )
    bad = await service.client.put(
        PATH + "x", json={"value": [1, "2"], "schema": schema}, headers=NEW
    )

    assert (good.status, bad.status) == (201, 422)


async def test_pages_are_ordered_by_key_and_end(service: Service) -> None:
    for key in ("b", "a/2", "a/1", "C"):
        await service.client.put(PATH + key, json={"value": key}, headers=NEW)

    keys: list[str] = []
    after: str | None = ""
    while after is not None:
        answer = await service.client.get(
            PATH.rstrip("/"), params={"limit": "2", "after": after} if after else {"limit": "2"}
        )
        page = await answer.json()
        keys += [item["key"] for item in page["items"]]
        after = page["next"]

    assert keys == ["C", "a/1", "a/2", "b"]


async def test_page_of_large_values_ends_early(service: Service) -> None:
    keys = [f"large/{n:02}" for n in range(30)]
    for key in keys:
        # Random, so that PostgreSQL cannot compress it.
        text = os.urandom(90_000).hex()
        await service.client.put(PATH + key, json={"value": text}, headers=NEW)

    first = await (await service.client.get(PATH.rstrip("/"), params={"limit": "500"})).json()
    rest = await (
        await service.client.get(PATH.rstrip("/"), params={"limit": "500", "after": first["next"]})
    ).json()

    results = [item["key"] for item in first["items"] + rest["items"]]
    assert len(first["items"]) < 30
    assert (results, rest["next"]) == (keys, None)


async def test_list_is_filtered_by_prefix_and_kind(service: Service) -> None:
    await service.client.put(PATH + "a_b", json={"value": 1}, headers=NEW)
    await service.client.put(PATH + "aXb", json={"value": 1}, headers=NEW)
    await service.client.put(PATH + "a_c", json={"value": flag(), "kind": "flag"}, headers=NEW)

    async def keys(**query: str) -> list[str]:
        answer = await service.client.get(PATH.rstrip("/"), params=query)
        return [item["key"] for item in (await answer.json())["items"]]

    assert await keys(prefix="a_") == ["a_b", "a_c"]
    assert await keys(prefix="a_", kind="flag") == ["a_c"]
    assert await keys(prefix="%") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=0000005001",
        "limit=" + "1" * 5000,
        "limit=x",
        "limit=²",
        "kind=x",
        "nope=1",
        "limit=1&limit=2",
    ],
)
async def test_wrong_query_is_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"{PATH.rstrip('/')}?{query}")

    assert answer.status == 400
    assert (await answer.json())["errors"]


async def test_revisions_have_no_gaps_under_concurrent_writers(service: Service) -> None:
    async def write(n: int) -> int:
        answer = await service.client.put(f"{PATH}k{n}", json={"value": n}, headers=NEW)
        return int((await answer.json())["revision"])

    revisions = await asyncio.gather(*(write(n) for n in range(40)))

    assert sorted(revisions) == list(range(1, 41))


@pytest.mark.slow
async def test_one_of_200_writers_of_a_version_wins(service: Service) -> None:
    bearer = {"Authorization": f"Bearer {service.admin_token}"}
    await service.client.put(PATH + "k", json={"value": 0}, headers=NEW)

    async with ClientSession(service.url, connector=TCPConnector(limit=0)) as client:

        async def write(n: int, version: int) -> tuple[int, int | None]:
            async with client.put(
                PATH + "k", json={"value": n}, headers=bearer | {"If-Match": f'"{version}"'}
            ) as answer:
                return answer.status, (await answer.json(content_type=None)).get("revision")

        for version in range(1, 4):
            answers = await asyncio.gather(*(write(n, version) for n in range(200)))

            # Each version has one winner, and the losers used no revision.
            assert sorted(status for status, _ in answers) == [200] + [412] * 199
            assert (200, version + 1) in answers
            winner = answers.index((200, version + 1))
            read = await (await service.client.get(PATH + "k")).json()
            assert (read["value"], read["version"]) == (winner, version + 1)


async def test_repeated_write_is_made_once(service: Service) -> None:
    headers = NEW | {"Idempotency-Key": "one"}
    first = await service.client.put(PATH + "k", json={"value": 1}, headers=headers)
    again = await service.client.put(PATH + "k", json={"value": 1}, headers=headers)
    other = await service.client.put(PATH + "k", json={"value": 2}, headers=headers)

    assert (first.status, again.status) == (201, 201)
    assert await first.json() == await again.json()
    assert (other.status, (await other.json())["code"]) == (409, "idempotency_key_reused")


async def test_concurrent_repeats_are_one_write(service: Service) -> None:
    headers = NEW | {"Idempotency-Key": "many"}

    answers = await asyncio.gather(
        *(service.client.put(PATH + "k", json={"value": 1}, headers=headers) for _ in range(8))
    )

    assert {answer.status for answer in answers} == {201}
    assert {(await answer.json())["revision"] for answer in answers} == {1}


async def test_refused_write_leaves_its_idempotency_key_free(service: Service) -> None:
    headers = {"If-Match": '"1"', "Idempotency-Key": "later"}
    refused = await service.client.put(PATH + "k", json={"value": 1}, headers=headers)
    await service.client.put(PATH + "k", json={"value": 0}, headers=NEW)
    accepted = await service.client.put(PATH + "k", json={"value": 1}, headers=headers)

    assert (refused.status, accepted.status) == (412, 200)


async def test_repeated_deletion_with_a_key_returns_the_same(service: Service) -> None:
    await service.client.put(PATH + "k", json={"value": 1}, headers=NEW)
    headers = {"If-Match": '"1"', "Idempotency-Key": "gone"}
    first = await service.client.delete(PATH + "k", headers=headers)
    again = await service.client.delete(PATH + "k", headers=headers)

    assert (first.status, again.status) == (200, 200)
    assert await first.json() == await again.json()


@pytest.mark.parametrize("pattern", ["(?:[ab]{1,100}){1,90}Z", "(a{1000}){1000}"])
async def test_slow_pattern_is_refused(service: Service, pattern: str) -> None:
    body = {"value": "a" * 60_000, "schema": {"type": "string", "pattern": pattern}}

    refused = await service.client.put(PATH + "k", json=body, headers=NEW)

    assert refused.status == 422


async def test_locked_environment_leaves_connections_to_others(
    service: Service, server: Server
) -> None:
    async def write(environment: str, n: int) -> int:
        path = f"/v1/environments/{environment}/configurations/locked/{n}"
        async with service.client.put(path, json={"value": n}, headers=NEW) as answer:
            return answer.status

    def count_waiting() -> int:
        with server.admin("suite") as observer:
            row = observer.execute(
                "select count(*) from pg_stat_activity "
                "where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
        assert row is not None
        return int(str(row[0]))

    with server.admin("suite") as admin, admin.transaction():
        admin.execute("select 1 from flagstone.environments where name = 'local' for update")
        writers = [asyncio.create_task(write("local", n)) for n in range(20)]
        async with asyncio.timeout(HANG_SECONDS):
            while count_waiting() == 0:  # noqa: ASYNC110 - a lock gives no sign
                await asyncio.sleep(0)
        other = await write("staging", 1)
        waiting = count_waiting()
    statuses = set(await asyncio.gather(*writers))

    assert other == 201
    assert waiting <= 2  # of the pool's five connections
    assert statuses <= {201, 503}
