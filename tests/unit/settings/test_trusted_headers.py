"""TRUSTED_USER_HEADER is refused if a stranger could send it, or if the name has another use."""

import pytest
from aiohttp import hdrs
from multidict import istr

from app.settings import SettingsError, load

USER = {"TRUSTED_USER_HEADER": "X-Forwarded-User"}
PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}
OIDC = {
    "OIDC_ISSUER": "https://id.example.org",
    "OIDC_CLIENT_ID": "flagstone",
    "PUBLIC_URL": "https://flags.example.org",
}
_STANDARD = sorted({str(name) for name in vars(hdrs).values() if isinstance(name, istr)})


def problems(given: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        load(given)
    return caught.value.problems


@pytest.mark.parametrize(
    ("given", "name", "rule"),
    [
        (USER, "TRUSTED_USER_HEADER", "must not be set without TRUSTED_PROXIES"),
        (
            {**PROXY, "TRUSTED_GROUPS_HEADER": "X-Forwarded-Groups"},
            "TRUSTED_GROUPS_HEADER",
            "must not be set without TRUSTED_USER_HEADER",
        ),
        (
            {**USER, **PROXY, "TRUSTED_GROUPS_HEADER": "x-forwarded-USER"},
            "TRUSTED_GROUPS_HEADER",
            "must not be the header of TRUSTED_USER_HEADER",
        ),
        (
            {**USER, **PROXY, **OIDC},
            "TRUSTED_USER_HEADER",
            "must not be set together with OIDC_ISSUER",
        ),
        (
            {**USER, **PROXY, "RELAY_UPSTREAM": "http://127.0.0.1", "RELAY_TOKEN": "f" * 40},
            "TRUSTED_USER_HEADER",
            "must not be set together with RELAY_UPSTREAM",
        ),
    ],
)
def test_contradictory_settings_are_refused(given: dict[str, str], name: str, rule: str) -> None:
    ((problem, reason),) = problems(given)

    assert problem == name
    assert reason.startswith(rule)


@pytest.mark.parametrize(
    "proxies",
    [
        *("0.0.0.0/0", "::/0", "0.0.0.0/1", "8.0.0.0/8", "203.0.112.0/23", "10.0.0.0/7"),
        *("172.0.0.0/11", "127.0.0.1,35.191.0.0/16", "fc00::/6", "2001:db8::/48"),
    ],
)
def test_large_public_network_is_refused(proxies: str) -> None:
    ((problem, reason),) = problems({**USER, "TRUSTED_PROXIES": proxies})

    assert problem == "TRUSTED_PROXIES"
    assert reason.startswith("must have private networks, or public ones of at most /24 for IPv4")
    # Without the header, a wrong address of a client is all that such a network allows.
    load({"TRUSTED_PROXIES": proxies})


@pytest.mark.parametrize(
    ("proxies", "warns"),
    [
        ("127.0.0.1", False),
        ("127.0.0.0/8,::1", False),
        ("10.1.2.0/24", False),
        ("203.0.113.7,2001:db8::/64", False),
        ("10.0.0.0/8", True),
        ("127.0.0.1,192.168.0.0/16", True),
        ("fd00::/8", True),
    ],
)
def test_large_private_network_is_warned_of(proxies: str, *, warns: bool) -> None:
    settings = load({**USER, "TRUSTED_PROXIES": proxies})

    assert settings.trusted_headers.user == "X-Forwarded-User"
    assert [text.startswith("TRUSTED_PROXIES has a large") for text in settings.warnings] == (
        [True] if warns else []
    )
    assert not load({"TRUSTED_PROXIES": proxies}).warnings


@pytest.mark.parametrize(
    "name",
    [
        *(*_STANDARD, "X-API-Key", "X-Background", "HX-Request", "Flagstone-Revision"),
        *("Sec-User", "X-Forwarded-Prefix", "Idempotency-Key", "host", "COOKIE"),
    ],
)
def test_header_with_another_use_is_refused(name: str) -> None:
    ((problem, _),) = problems({**PROXY, "TRUSTED_USER_HEADER": name})

    assert problem == "TRUSTED_USER_HEADER"


@pytest.mark.parametrize("name", ["X_User", "X-User:", "X User", "X-Üser", "-", "X-", "x" * 65])
def test_malformed_header_name_is_refused(name: str) -> None:
    ((_, rule),) = problems({**PROXY, "TRUSTED_USER_HEADER": name})

    assert rule.startswith("must be words of letters and digits with hyphens")


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-User", "X-Auth-Request-User", "Remote-User", "X-authentik-username"),
        *("Cf-Access-Authenticated-User-Email", "Tailscale-User-Login"),
    ],
)
def test_header_of_a_known_proxy_is_accepted(name: str) -> None:
    settings = load(
        {**PROXY, "TRUSTED_USER_HEADER": name, "TRUSTED_GROUPS_HEADER": "Remote-Groups"}
    )

    assert settings.trusted_headers.user == name
    assert settings.trusted_headers.groups == "Remote-Groups"


def test_header_is_off_by_default() -> None:
    assert load({}).trusted_headers.user is None
