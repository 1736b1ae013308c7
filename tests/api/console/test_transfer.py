"""The page for import and export: the effect before an import, refusals, and downloads."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import FormData

from app.access.models import Scope
from app.console.transfer.formats import find_format
from app.console.transfer.forms import ImportForm, shown_name
from app.console.transfer.multipart import read_multipart
from app.errors import Malformed
from tests.api.configuration.proposal_calls import protect
from tests.api.console.flag_list import address, boolean, change, create
from tests.conftest import Service
from tests.html import Element, parse_html

PAGE = address(page="transfer")
PRODUCTION = address("production", page="transfer")
DOCUMENT = {"flags": {"new": boolean(), "old": boolean(defaultVariant="on")}}


async def post(
    service: Service,
    fields: Mapping[str, str],
    file: tuple[str, bytes] | None = None,
    *,
    status: int = 200,
    page: str = PAGE,
    **options: Any,
) -> Element:
    """Post the form as a browser does, and return the page."""
    data: Any = dict(fields)
    if file is not None:
        data = FormData(fields, quote_fields=False)
        data.add_field("file", file[1], filename=file[0], content_type="application/json")
    headers = {"Origin": service.url.rstrip("/"), **options.pop("headers", {})}
    async with service.client.post(page, data=data, headers=headers, **options) as answer:
        assert answer.status == status, await answer.text()
        return parse_html(await answer.text())


def rows_of(page: Element) -> list[tuple[str, str, str]]:
    """Return the key, the effect and the words of each row."""
    rows = [row for body in page.all("tbody") for row in body.all("tr")]
    return [(row.one("th").text, *(cell.text for cell in row.all("td"))) for row in rows]  # type: ignore[misc]


async def test_effect_of_a_file_is_shown_and_applied(service: Service) -> None:
    await create(service, {"old": boolean(), "other": boolean()})
    file = ("shop.json", json.dumps(DOCUMENT).encode())

    page = await post(service, {"mode": "replace", "message": "from the shop"}, file)
    assert rows_of(page) == [
        ("new flag", "created", "Flag new is created: off for all"),
        ("old flag", "changed", "Switches on: on is served to all"),
        ("other flag", "deleted", "Flag other is deleted"),
    ]
    assert "Effect on local of shop.json" in page.text
    fields = {
        "mode": "replace",
        "message": "from the shop",
        "action": "apply",
        "checked": page.one("input", name="checked")["value"],
        # Without JavaScript the page has the content of the file as text.
        "filename": page.one("input", name="filename")["value"],
        "text": page.one("textarea").text,
    }
    saved = await post(service, fields)

    assert "Saved as revision 2." in saved.text
    path = "/v1/environments/local/changes/2"
    async with service.client.get(path) as answer:
        written = await answer.json()
    assert (written["kind"], written["message"]) == ("import", "from the shop")
    assert [change["key"] for change in written["changes"]] == ["new", "old", "other"]


async def test_import_is_shown_again_if_it_or_the_state_differs(service: Service) -> None:
    text = json.dumps(DOCUMENT)
    page = await post(service, {"text": text})
    fields = {
        "text": text,
        "action": "apply",
        "checked": page.one("input", name="checked")["value"],
    }

    other = await post(service, fields | {"text": text.replace("new", "newer")}, status=422)
    await create(service, {"meanwhile": boolean()})
    late = await post(service, fields, status=422)
    forged = await post(service, fields | {"checked": "2:" + "0" * 64}, status=422)

    assert "The import differs from the one that was shown." in other.text
    assert "The environment has changed since." in late.text
    assert "The import differs" in forged.text
    async with service.client.get("/v1/environments/local") as answer:
        assert (await answer.json())["revision"] == 1
    again = late.one("input", name="checked")["value"]
    assert "Saved as revision 2." in (await post(service, fields | {"checked": again})).text


async def test_import_into_production_needs_its_name(service: Service) -> None:
    fields = {"text": json.dumps(DOCUMENT)}
    shown = await post(service, fields, page=PRODUCTION)
    fields |= {"action": "apply", "checked": shown.one("input", name="checked")["value"]}

    wrong = fields | {"confirmation": "prod"}
    refused = await post(service, wrong, page=PRODUCTION, status=422)
    async with service.client.get("/v1/environments/production") as answer:
        revision = (await answer.json())["revision"]
    saved = await post(service, fields | {"confirmation": "production"}, page=PRODUCTION)

    assert "required" in shown.one("input", name="confirmation").attributes
    assert "Type production, exactly." in refused.text
    assert refused.one("input", name="checked")["value"] == fields["checked"]
    assert revision == 0
    assert "Saved as revision 1." in saved.text


async def test_proposed_import_needs_no_name(service: Service) -> None:
    await protect(service, "production", approvals=1)
    fields = {"text": json.dumps(DOCUMENT)}
    shown = await post(service, fields, page=PRODUCTION)

    fields |= {"action": "apply", "checked": shown.one("input", name="checked")["value"]}
    proposed = await post(service, fields, page=PRODUCTION)

    assert not shown.all("input", name="confirmation")
    assert "Import a text · Flagstone" in proposed.text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": " \n"}, "file: must be chosen, or a text must be pasted"),
        ({"text": "{"}, "must be JSON"),
        ({"text": '{"flags": {"f": {"state": "ON"}}}'}, "f.value.state"),
        ({"text": "A=1", "format": "xml"}, "format: must be json, yaml, env, flagd"),
        ({"text": "A=1", "mode": "both"}, "mode: must be merge, replace"),
        ({"text": "A=1", "message": "x" * 1_001}, "must have at most 1000 characters"),
        ({"text": '{"bad key": 1}'}, "bad key"),
    ],
)
async def test_refusal_is_beside_its_key(
    service: Service, fields: dict[str, str], text: str
) -> None:
    page = await post(service, fields, status=422)

    assert "The import is refused" in page.text
    assert text in page.text
    assert not page.all("input", name="checked")


async def test_names_and_texts_of_a_file_are_only_text(service: Service) -> None:
    mark = "<img src=x onerror=alert(1)>"
    # Browsers escape a quotation mark.
    file = (f"..\\a/{mark}%22\u202e.json", json.dumps({"flags": {"f": {"state": mark}}}).encode())

    page = await post(service, {"format": "json"}, file, status=422)

    assert not [image for image in page.all("img") if image.has({"src": "x"})]
    assert f'{mark}"?.json' in page.text


async def test_lenient_import_shows_its_warnings(service: Service) -> None:
    page = await post(service, {"text": '{"flags": {"f": {"state": "ON"}}}', "lenient": "true"})

    assert "f.value.state" in page.text
    assert rows_of(page)[0][:2] == ("f flag", "created")


async def test_equal_file_offers_no_import(service: Service) -> None:
    await create(service, {"new": boolean()})

    page = await post(service, {"text": json.dumps({"flags": {"new": boolean()}})})

    assert "Nothing differs" in page.text
    assert not page.all("input", name="checked")


async def test_more_keys_than_rows_are_listed(service: Service) -> None:
    text = "\n".join(f"KEY_{number:03}=1" for number in range(130))

    page = await post(service, {"text": text})

    assert "Read as .env: 130 created" in page.text
    assert len(rows_of(page)) == 100
    assert "30 more keys created" in page.text


async def test_env_patterns_make_secrets_that_are_not_shown(service: Service) -> None:
    page = await post(service, {"text": "DB_PASSWORD=hunter2hunter2", "secrets": "*PASSWORD*"})

    effect = page.one("tbody").text
    assert "secret" in effect
    assert "hunter2" not in effect


async def test_read_only_token_sees_no_import_and_cannot_post(service: Service) -> None:
    token = await service.token(Scope.READ)
    headers = {"Authorization": f"Bearer {token}"}

    async with service.stranger.get(PAGE, headers=headers) as answer:
        page = parse_html(await answer.text())
    own = headers | {"Origin": service.url.rstrip("/")}
    async with service.stranger.post(PAGE, data={"text": "A=1"}, headers=own) as answer:
        refused = answer.status
    async with service.stranger.post(address(page="export"), data={}, headers=own) as answer:
        unrevealed = answer.status
    foreign = {"Origin": "https://elsewhere.example"}
    async with service.client.post(PAGE, data={"text": "A=1"}, headers=foreign) as answer:
        cross_site = answer.status

    assert not page.all("form", id="import")
    assert "Export with secrets" not in page.text
    assert (refused, unrevealed, cross_site) == (403, 403, 403)


async def test_export_sends_the_state_at_a_moment(service: Service) -> None:
    await create(service, {"a": boolean()})
    await create(service, {"b": boolean()})
    path = address(page="export")

    async with service.client.get(path) as answer:
        latest = json.loads(await answer.text())
        disposition = answer.headers["Content-Disposition"]
    query = {"format": "flagd", "revision": "1", "at": ""}
    async with service.client.get(path, params=query) as answer:
        early = json.loads(await answer.text())
    async with service.client.get(path, params={"at": "2001-01-01T00:00"}) as answer:
        empty = json.loads(await answer.text())
    async with service.client.get(path, params={"at": "soon"}) as answer:
        refused = answer.status, await answer.text()

    assert disposition == 'attachment; filename="local.json"'
    assert latest["entries"].keys() == {"a", "b"}
    assert early["flags"].keys() == {"a"}
    assert empty["entries"] == {}
    assert (refused[0], "must be a time" in refused[1]) == (400, True)


async def test_secrets_are_exported_by_post_alone_and_logged(service: Service) -> None:
    secret = {"op": "put", "key": "s", "version": 0, "kind": "secret", "value": "hunter2hunter2"}
    await change(service, [secret])
    path, headers = address(page="export"), {"Origin": service.url.rstrip("/")}

    async with service.client.get(path, params={"reveal": "true"}) as answer:
        masked = await answer.text()
    async with service.client.post(path, data={"format": "json"}, headers=headers) as answer:
        clear = await answer.text()
    async with service.client.get("/v1/access-log", params={"event": "sensitive_read"}) as answer:
        logged = await answer.text()

    assert "hunter2" not in masked
    assert "hunter2hunter2" in clear
    assert "export of 1 secret" in logged


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("x.flagd.json", "", "flagd"),
        ("X.YML", "{", "yaml"),
        (".env.prod", "{", "env"),
        ("", "\ufeff\n# no\n {", "json"),
        ("notes.txt", "export A_b.c = 1", "env"),
        ("", "a: b=c", "yaml"),
        ("", "", "yaml"),
        ("", "# no\n" * 9 + "\n \r\n\tA=1", "env"),
        # Only the first 16 KiB are read.
        ("", "\n" * 20_000 + "{", "yaml"),
    ],
)
def test_format_is_found_by_name_and_content(name: str, content: str, format_: str) -> None:
    assert find_format(name, content.encode()) == format_


@pytest.mark.parametrize(
    ("filename", "shown"),
    [("C:\\a\\b.json", "b.json"), ("../x/y.env", "y.env"), ("a\x1b\u202e", "a??"), ("", "")],
)
def test_shown_name_is_printable_and_without_folders(filename: str, shown: str) -> None:
    assert shown_name(filename) == shown
    assert len(shown_name("x" * 999)) == 80


@pytest.mark.parametrize(
    "raw",
    [b"", b"--b", b"x--b\r\n", b"--b\r\nname=x\r\n--b--", b"--c\r\n\r\n--c--"],
)
def test_broken_multipart_body_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_multipart(raw, "multipart/form-data; boundary=b")


def test_mark_depends_on_content_and_options() -> None:
    marks = {
        ImportForm(raw=b"A=1").mark(1),
        ImportForm(raw=b"A=2").mark(1),
        ImportForm(raw=b"A=1").mark(2),
        ImportForm(raw=b"A=1", lenient=True).mark(1),
        ImportForm(raw=b"A=1", secrets="A").mark(1),
    }
    assert len(marks) == 5
    assert ImportForm(raw=b"A=1", checked=ImportForm(raw=b"A=1").mark(7)).checked_revision() == 7
