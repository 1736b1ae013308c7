"""The URL of a database, parsed once for both drivers. An error never shows a part of the URL."""

from pathlib import Path
from urllib.parse import quote

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.settings import Secret, Target, Tls, TlsMode, parse_target
from tests.examples import examples

CANARY = "canary7f3a"
# Names and passwords may contain every character except NUL.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


def target(url: str) -> Target:
    return parse_target(f"postgresql://{url}")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_url_has_all_its_parts(scheme: str) -> None:
    parsed = parse_target(f"{scheme}://user:secret@host:6543/database")

    assert parsed == Target(
        hosts=(("host", 6543),), database="database", user="user", password=Secret("secret")
    )


def test_omitted_url_parts_have_defaults() -> None:
    parsed = target("user@host/database")

    assert (parsed.hosts, parsed.password, parsed.tls) == ((("host", 5432),), None, Tls())


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("u@%2Fvar%2Frun%2Fpostgresql/d", (("/var/run/postgresql", 5432),)),
        ("u@%2Ftmp%2Fa%3Ab:6543/d", (("/tmp/a:b", 6543),)),  # noqa: S108 - a socket's folder
        ("u@/d?host=/var/run/postgresql", (("/var/run/postgresql", 5432),)),
        ("/d?user=u&host=%2Frun&port=6543", (("/run", 6543),)),
        ("u@/d?host=/run/a:b", (("/run/a:b", 5432),)),
    ],
)
def test_host_with_a_slash_is_a_socket(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    parsed = target(url)

    assert (parsed.hosts, parsed.is_socket) == (hosts, True)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("u@[::1]/d", (("::1", 5432),)),
        ("u@[::1]:6543/d", (("::1", 6543),)),
        ("u:p@[fe80::1%25eth0]:1/d", (("fe80::1%eth0", 1),)),
        ("u@[::1]:1,[::2]:2/d", (("::1", 1), ("::2", 2))),
        ("u@/d?host=::1&port=6543", (("::1", 6543),)),
        ("u@a,b,c/d", (("a", 5432), ("b", 5432), ("c", 5432))),
        ("u@a:1,b,c:65535/d", (("a", 1), ("b", 5432), ("c", 65535))),
        ("u@/d?host=a,b&port=1,2", (("a", 1), ("b", 2))),
        ("u@/d?host=a,b&port=7", (("a", 7), ("b", 7))),
        ("u@ignored:1/d?host=a", (("a", 5432),)),
    ],
)
def test_hosts_and_ports_are_read(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    """The result is that of libpq, also for a bare IPv6 address in a parameter."""
    parsed = target(url)

    assert (parsed.hosts, parsed.is_socket) == (hosts, False)


def test_socket_beside_a_host_is_not_only_sockets() -> None:
    parsed = target("u@%2Frun,db/d")

    assert not parsed.is_socket


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (f"{CANARY}#x:p@h/d", "'#'"),
        (f"u:{CANARY}#@h/d", "%23"),
        (f"u:{CANARY}/x@h/d", "%2F"),
        (f":{CANARY}@h/d", "must name a user"),
        ("h/d", "must name a user"),
        (f"u:{CANARY}@/d", "must name a host"),
        (f"u:{CANARY}@h,/d", "must name a host"),
        (f"u:{CANARY}@[]/d", "must name a host"),
        (f"u:{CANARY}@h", "must name a database"),
        (f"u:{CANARY}@h/", "must name a database"),
        (f"u:p@{CANARY}..h/d", "must have host names of labels of 1 to 63 characters"),
        (f"u:p@{CANARY * 9}/d", "must have host names of labels of 1 to 63 characters"),
        (f"u:p@{CANARY}:0/d", "must have ports from 1 to 65535"),
        (f"u:p@{CANARY}:65536/d", "must have ports from 1 to 65535"),
        (f"u:p@h:{CANARY}/d", "must have ports from 1 to 65535"),
        ("u:p@h:-1/d", "must have ports from 1 to 65535"),
        ("u:p@h:٣/d", "must have ports from 1 to 65535"),
        ("u:p@h:" + "9" * 5_000 + "/d", "must have ports from 1 to 65535"),
        ("u:p@h:1:2/d", "must have ports from 1 to 65535"),
        (f"u:p@fe80::{CANARY}/d", "must have ports from 1 to 65535"),
        (f"u:p@[::1{CANARY}/d", "IPv6"),
        (f"u:p@[::1]{CANARY}/d", "IPv6"),
        (f"u:p@h/d?sslmode={CANARY}", "must have one of these as sslmode"),
        ("u:p@h/d?sslmode=allow", "must have one of these as sslmode"),
        (f"u:p@h/d?{CANARY}", "name=value"),
        (f"u:p@h/d?a=1&&{CANARY}=1", "name=value"),
        (f"u:p@h/d?search_path={CANARY}", "no unknown parameters"),
        (f"u:p@h/d?options=-c%20{CANARY}", "no unknown parameters"),
    ],
)
def test_invalid_url_is_refused_without_quoting_it(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has) ") as caught:
        target(url)

    assert rule in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("url", ["", "postgresql:", "//u@h/d", "mysql://u@h/d", "POSTGRES://u@h/d"])
def test_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must start with postgresql://"):
        parse_target(url)


@pytest.mark.parametrize(
    "url",
    [
        f"u@h/d?password=a&{CANARY}=b",
        f"u:a@h/x?{CANARY}=b@h/d",
    ],
)
def test_unencoded_password_is_not_shown_as_a_parameter(url: str) -> None:
    """The text after & or ? looks like a parameter, but is part of the password."""
    with pytest.raises(ValueError, match="no unknown parameters") as caught:
        target(url)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("encoded", ["p%00", "p%FF", "p%zz", "p%"])
def test_undecodable_url_is_refused(encoded: str) -> None:
    """Refuse them as libpq does. Accepting them would silently change the password."""
    with pytest.raises(ValueError, match="must"):
        target(f"u:{encoded}@h/d")


def test_fewer_ports_than_hosts_are_refused() -> None:
    """The rule is that of libpq: one port for all hosts, or one port for each."""
    with pytest.raises(ValueError, match="port"):
        target("u@/d?host=a,b,c&port=1,2")


def test_plus_sign_is_not_decoded_as_a_space() -> None:
    """Only HTML forms encode a space as plus. libpq does not, and random passwords contain plus."""
    url = "postgresql://u@h/d?password=a+b"

    parsed = parse_target(url)

    assert parsed.password == Secret(str(psycopg.conninfo.conninfo_to_dict(url)["password"]))


def test_parameters_win_over_the_parts_before_them() -> None:
    parsed = target("u:p@h:1/d?user=user&password=secret&dbname=database&port=2")

    assert parsed == Target(
        hosts=(("h", 2),), database="database", user="user", password=Secret("secret")
    )


def test_parameters_that_our_settings_replace_are_ignored() -> None:
    parsed = target(
        "u@h/d?application_name=x&connect_timeout=3&keepalives=1&target_session_attrs=read-write"
    )

    assert parsed == target("u@h/d")


@pytest.mark.parametrize("mode", list(TlsMode))
def test_tls_is_read(mode: TlsMode) -> None:
    parsed = target(f"u@h/d?sslmode={mode}&sslrootcert=/c%20a&sslcert=/c&sslkey=/k")

    assert parsed.tls == Tls(mode=mode, ca=Path("/c a"), certificate=Path("/c"), key=Path("/k"))


def test_empty_parameter_counts_as_unset() -> None:
    parsed = target("u:p@h/d?password=&host=&port=&sslmode=&sslrootcert=")

    assert parsed == target("u:p@h/d")


@given(user=TEXTS, password=TEXTS, database=TEXTS)
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_every_encoded_text_comes_back(user: str, password: str, database: str) -> None:
    user_text, password_text, name = (quote(text, safe="") for text in (user, password, database))

    direct = target(f"{user_text}:{password_text}@h/{name}")
    by_parameters = target(f"h/?user={user_text}&password={password_text}&dbname={name}")

    for parsed in (direct, by_parameters):
        assert (parsed.user, parsed.password, parsed.database) == (user, Secret(password), database)


@given(password=TEXTS)
@hypothesis_settings(max_examples=examples(50), deadline=None)
def test_libpq_reads_the_same_password(password: str) -> None:
    url = f"postgresql://u:{quote(password, safe='')}@h/d"

    parsed = parse_target(url)

    assert parsed.password == Secret(str(psycopg.conninfo.conninfo_to_dict(url)["password"]))


@given(
    before=st.text("@:/?#&=%[],ah2", max_size=6),
    after=st.text("@:/?#&=%[],ah2", max_size=6),
)
@hypothesis_settings(max_examples=examples(300), deadline=None, derandomize=True)
def test_unencoded_password_is_never_shown(before: str, after: str) -> None:
    try:
        target(f"u:{before}{CANARY}{after}@h/d")
    except ValueError as error:
        shown = str(error)
    else:
        shown = ""
    assert CANARY not in shown


@given(text=st.text(max_size=60))
@hypothesis_settings(max_examples=examples(150), deadline=None)
def test_any_text_is_read_or_refused_by_a_value_error(text: str) -> None:
    try:
        parsed = target(text)
    except ValueError:
        return
    assert parsed.user
    assert parsed.database
    assert parsed.hosts


def test_target_does_not_show_its_password() -> None:
    parsed = target(f"user:{CANARY}@[::1]:1,b/database")

    assert CANARY not in f"{parsed} {parsed!r} {parsed.summary}"
    assert parsed.summary == "user@::1:1,b:5432/database"


def test_target_can_be_changed_to_another_database_or_role() -> None:
    parsed = target("u:p@h/d?sslmode=require")

    assert parsed.named("other") == target("u:p@h/other?sslmode=require")
    assert parsed.as_role("role", Secret("secret")) == target("role:secret@h/d?sslmode=require")
