"""The frame of the console's pages: headers, errors as pages, and the way to the sign-in."""

import pytest

from app.access.models import Scope
from app.console.forms import FormErrors
from app.errors import Invalid, Violation
from tests.conftest import Service

CONSOLE = "/console"


async def test_page_of_stranger_leads_to_sign_in_and_back(service: Service) -> None:
    target = f"{CONSOLE}/environments/local/flags?q=a%20b"

    async with service.stranger.get(target, allow_redirects=False) as answer:
        assert answer.status == 303
        expected = "/console/sign-in?next=%2Fconsole%2Fenvironments%2Flocal%2Fflags%3Fq%3Da%2Bb"
        assert answer.headers["Location"] == expected


async def test_fragment_of_stranger_is_a_notice(service: Service) -> None:
    headers = {"HX-Request": "true"}

    async with service.stranger.get(f"{CONSOLE}/environments/local", headers=headers) as answer:
        text = await answer.text()

    assert answer.status == 401
    assert answer.headers["HX-Retarget"] == "#notices"
    assert "Sign in again in a new tab" in text
    assert '<a href="/console/sign-in" target="_blank"' in text
    assert "<html" not in text


async def test_unknown_page_is_an_error_page(service: Service) -> None:
    async with service.client.get(f"{CONSOLE}/<b>") as answer:
        text = await answer.text()

    assert answer.status == 404
    assert answer.content_type == "text/html"
    assert "There is no page /console/&lt;b&gt;." in text


async def test_page_has_the_strict_policy(service: Service) -> None:
    async with service.client.get(f"{CONSOLE}/none") as answer:
        policy = answer.headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"


async def test_page_of_unknown_environment_is_not_found(service: Service) -> None:
    async with service.client.get(f"{CONSOLE}/environments/none") as answer:
        assert answer.status == 404
        assert "There is no such environment." in await answer.text()


async def test_foreign_environment_looks_like_an_unknown_one(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "1"}
    texts = []
    for name in ("production", "nowhere"):
        path = f"{CONSOLE}/environments/{name}/flags"
        async with service.stranger.get(path, headers=headers) as answer:
            assert answer.status == 403
            texts.append((await answer.text()).replace(name, "…"))

    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("field", "rules"),
    [
        ("value", ["variants must not be empty", "[0] must be a text"]),
        ("value.variants", ["must not be empty"]),
        ("key", []),
    ],
)
def test_form_errors_of_a_field_include_its_parts(field: str, rules: list[str]) -> None:
    error = Invalid.of(
        "operations_invalid",
        [
            Violation("operations[0].value.variants", "must not be empty"),
            Violation("operations[0].value[0]", "must be a text"),
        ],
    )

    assert FormErrors.of(error).under(field) == rules


@pytest.mark.parametrize("origin", ["http://[::1", "null", "http://127.0.0.1:1"])
async def test_post_of_another_origin_is_refused(service: Service, origin: str) -> None:
    headers = {"Origin": origin}
    async with service.client.post("/console/sign-out", headers=headers) as answer:
        assert answer.status == 403
