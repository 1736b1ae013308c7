"""The text of tokens, their MACs, and the directory."""

import hashlib
import hmac
import re
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.access import expiry as lives
from app.access.directory import TokenDirectory
from app.access.format import PATTERN, GeneratedToken, generate_token, token_id
from app.access.mac import holds, lapsed, mac, retired
from app.access.models import EVERY_ENVIRONMENT, Grant, Scope, Token
from app.crypto.derivation import Purpose, derive
from app.database import Database
from app.errors import Unauthenticated, Unavailable
from app.settings import Secret, load
from tests.examples import examples
from tests.paths import ROOT

KEY = Secret("k" * 32)
GRANT = Grant(
    scopes=frozenset({Scope.READ, Scope.WRITE}),
    environments=frozenset({"staging", "local"}),
    expires_at=datetime(2999, 1, 1, tzinfo=UTC),
)
# zlib.crc32 of this body is 1447810142; in base 62, counted from 0-9, A-Z, a-z, that is 1ZyrYU.
KNOWN_ID = "0123456789abc"
KNOWN_BODY = f"fs_srv_{KNOWN_ID}_{'Z' * 43}"


def stored(new: GeneratedToken, grant: Grant = GRANT, key: Secret = KEY) -> Token:
    return Token(id=new.id, name="test", mac=mac(key, new.text, grant), grant=grant)


def directory(*tokens: Token, key: Secret = KEY) -> TokenDirectory:
    """A directory that has read the tokens. Its database stays closed."""
    opened = TokenDirectory(Database(load({}).database), key)
    opened.use(tokens)
    return opened


# The text


@pytest.mark.parametrize(("is_admin", "kind"), [(True, "adm"), (False, "srv")])
def test_new_token_is_well_formed(is_admin: object, kind: str) -> None:
    new = generate_token(is_admin=bool(is_admin))

    assert len(new.text) == 70
    assert new.text.startswith(f"fs_{kind}_{new.id}_")
    assert token_id(new.text) == new.id
    assert re.fullmatch(PATTERN, new.text)


def test_tokens_are_unique() -> None:
    tokens = [generate_token(is_admin=False) for _ in range(200)]

    assert len({new.id for new in tokens}) == len({new.text[-49:-6] for new in tokens}) == 200


def test_every_character_is_used() -> None:
    """A mistake in the alphabet or the choice would make the secret weaker."""
    used = {
        character for _ in range(200) for character in generate_token(is_admin=True).text[-49:-6]
    }

    assert used == set(string.ascii_letters + string.digits)


def test_every_change_of_one_character_is_refused() -> None:
    new = generate_token(is_admin=False)
    alphabet = string.ascii_letters + string.digits + "_-"

    for place, character in enumerate(new.text):
        for other in set(alphabet) - {character}:
            changed = new.text[:place] + other + new.text[place + 1 :]
            assert token_id(changed) is None, changed


def test_swapped_or_missing_characters_are_refused() -> None:
    text = generate_token(is_admin=False).text

    for place in range(len(text)):
        shorter = text[:place] + text[place + 1 :]
        swapped = text[:place] + text[place : place + 2][::-1] + text[place + 2 :]
        assert token_id(shorter) is None
        assert swapped == text or token_id(swapped) is None


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r".*", ""),
        (r"$", "\n"),
        (r"^", " "),
        (r"^", "Bearer "),
        (r"$", "0"),
        (r"$", "\0"),
        (r"^fs", "FS"),
        (r"^fs", "gh"),
        (r"_srv_", "_adm_"),
        (r"_srv_", "_usr_"),
        (r".$", "\u0663"),
        (r".$", "\udc80"),
    ],
)
def test_malformed_token_has_no_id(pattern: str, replacement: str) -> None:
    text = generate_token(is_admin=False).text

    spoilt = re.sub(pattern, replacement, text, count=1)

    assert spoilt != text
    assert token_id(spoilt) is None


@given(text=st.text(max_size=80) | st.from_regex(PATTERN, fullmatch=True))
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_any_text_is_refused_without_an_error(text: str) -> None:
    assert token_id(text) is None


def test_checksum_is_the_crc_32_in_base_62() -> None:
    """Secret scanners compute it too, so it must never change."""
    assert token_id(KNOWN_BODY + "1ZyrYU") == KNOWN_ID


def test_published_pattern_matches_tokens_only() -> None:
    """Secret scanners use the pattern first, then the checksum."""
    tokens = [generate_token(is_admin=bool(number % 2)).text for number in range(100)]
    text = "\n".join(f'TOKEN="{token}"; curl -H "X-API-Key:{token}"' for token in tokens)
    others = (
        "fs_srv_0123456789abc",
        f"fs_usr_{KNOWN_ID}_{'Z' * 49}",
        f"fs_srv_{KNOWN_ID}_{'Z' * 48}",
        f"ghp_{'a' * 36}",
        KNOWN_BODY,
        hashlib.sha256(b"").hexdigest() * 2,
    )

    assert re.findall(PATTERN, text) == [token for copy in tokens for token in (copy, copy)]
    assert not any(re.search(PATTERN, other) for other in others)
    assert all(token_id(token) for token in re.findall(PATTERN, text))
    assert f"`{PATTERN}`" in (ROOT / "docs/access.md").read_text()


# The MAC


def test_mac_is_equal_for_equal_grants() -> None:
    east = timezone(timedelta(hours=2))
    same = Grant(
        scopes=frozenset({Scope.WRITE, Scope.READ}),
        environments=frozenset({"local", "staging"}),
        expires_at=GRANT.expires_at and GRANT.expires_at.astimezone(east),
    )

    assert mac(KEY, "text", GRANT) == mac(KEY, "text", same)
    assert len(mac(KEY, "text", GRANT)) == 32


@pytest.mark.parametrize(
    "grant",
    [
        replace(GRANT, scopes=GRANT.scopes | {Scope.ADMIN}),
        replace(GRANT, scopes=frozenset()),
        replace(GRANT, scopes=frozenset({Scope.READ})),
        replace(GRANT, environments=GRANT.environments | {"production"}),
        replace(GRANT, environments=frozenset({EVERY_ENVIRONMENT})),
        replace(GRANT, prefixes=frozenset({"shop/"})),
        replace(GRANT, expires_at=None),
        replace(GRANT, expires_at=datetime(2999, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_changed_row_invalidates_its_token(grant: Grant) -> None:
    """Without the key, which is not in the database, no matching MAC can be computed."""
    new = generate_token(is_admin=False)
    promoted = replace(stored(new), grant=grant)

    assert mac(KEY, new.text, grant) != mac(KEY, new.text, GRANT)
    with pytest.raises(Unauthenticated):
        directory(promoted).authenticate(new.text)


def test_mac_of_a_token_for_all_keys_is_that_of_earlier_releases() -> None:
    content = b"text\nread,write\nlocal,staging\n2999-01-01T00:00:00+00:00"

    assert mac(KEY, "text", GRANT) == hmac.digest(derive(KEY, Purpose.TOKENS), content, "sha256")


def test_wider_prefixes_invalidate_a_token() -> None:
    """An earlier release ignores the prefixes, so it computes the MAC of a token for all keys."""
    limited = replace(GRANT, prefixes=frozenset({"a/", "b/"}))
    new = generate_token(is_admin=False)
    token = stored(new, limited)

    assert holds(KEY, new.text, token)
    for prefixes in ({""}, {"a/"}, {"a/", "b/", "c/"}, {"a", "b/"}):
        wider = replace(limited, prefixes=frozenset(prefixes))
        assert not holds(KEY, new.text, replace(token, grant=wider))


def test_mac_depends_on_the_key_and_on_the_whole_text() -> None:
    macs = {
        mac(KEY, "text", GRANT),
        mac(Secret("K" * 32), "text", GRANT),
        mac(KEY, "Text", GRANT),
        mac(KEY, "", GRANT),
    }

    assert len(macs) == 4


def test_later_expiry_is_part_of_the_mac() -> None:
    new = generate_token(is_admin=False)
    before = stored(new)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    sealed = retired(KEY, before.mac, soon)
    good = replace(before, mac=sealed, retires_at=soon)

    assert directory(good).authenticate(new.text).token is good
    for spoilt in (
        replace(good, retires_at=None),
        replace(good, retires_at=soon + timedelta(microseconds=1)),
        replace(good, mac=before.mac),
        replace(good, mac=retired(Secret("K" * 32), before.mac, soon)),
        replace(before, retires_at=soon),
        replace(good, mac=bytes(32)),
    ):
        with pytest.raises(Unauthenticated):
            directory(spoilt).authenticate(new.text)


@pytest.mark.parametrize("place", range(4))
def test_lapses_around_the_retirement_hold_in_their_order(place: int) -> None:
    names, retires_at = ("a", "b", "c"), datetime.now(UTC)
    grant = replace(GRANT, environments=frozenset({*names, "d"}))
    new = generate_token(is_admin=False)
    row_mac = mac(KEY, new.text, grant)
    for position in range(4):
        if position == place:
            row_mac = retired(KEY, row_mac, retires_at)
        if position < 3:
            row_mac = lapsed(KEY, row_mac, names[position])
    token = replace(stored(new, grant), mac=row_mac, retires_at=retires_at, lapsed=names)

    assert holds(KEY, new.text, token)
    assert not holds(KEY, generate_token(is_admin=False).text, token)
    for other in ((), names[:2], ("b", "a", "c"), (*names, "d")):
        assert not holds(KEY, new.text, replace(token, lapsed=other))
    assert not holds(KEY, new.text, replace(token, retires_at=None))


def test_replaced_token_expires() -> None:
    new = generate_token(is_admin=False)
    before = stored(new)
    now = datetime.now(UTC)

    with pytest.raises(Unauthenticated):
        directory(replace(before, mac=retired(KEY, before.mac, now), retires_at=now)).authenticate(
            new.text
        )


# The directory


def test_known_token_gives_its_caller() -> None:
    new = generate_token(is_admin=False)
    token = stored(new)

    caller = directory(token).authenticate(new.text)

    assert (caller.token, caller.rights.grants) == (token, (token.grant,))
    assert caller.actor == f"token:{new.id}"
    assert new.text[-49:] not in repr(caller)


def test_token_without_expiry_is_valid() -> None:
    new = generate_token(is_admin=True)
    token = stored(new, replace(GRANT, expires_at=None))

    assert directory(token).authenticate(new.text).token is token


def test_every_refusal_is_the_same() -> None:
    """A client that guesses must not learn which part of a token was right."""
    known, unknown, expired, other_key, same_id = (generate_token(is_admin=False) for _ in range(5))
    past = replace(GRANT, expires_at=datetime.now(UTC) - timedelta(microseconds=1))
    guarded = directory(
        stored(known),
        stored(expired, past),
        stored(other_key, key=Secret("K" * 32)),
        replace(stored(generate_token(is_admin=False)), id=same_id.id),
    )

    refusals = set()
    for text in (
        "",
        "no token",
        "é\udc80",
        known.text[:-1],
        unknown.text,
        expired.text,
        other_key.text,
        same_id.text,
    ):
        with pytest.raises(Unauthenticated) as caught:
            guarded.authenticate(text)
        refusals.add((caught.value.code, caught.value.message, caught.value.violations))

    assert len(refusals) == 1
    assert guarded.authenticate(known.text).token_id == known.id


def test_refused_token_is_valid_after_it_is_stored() -> None:
    new = generate_token(is_admin=False)
    refusing = directory()
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="Send a valid token"):
            refusing.authenticate(new.text)

    refusing.use([stored(new)])

    assert refusing.authenticate(new.text).token_id == new.id


def test_directory_refuses_any_changed_character() -> None:
    new = generate_token(is_admin=False)
    guarded = directory(stored(new))

    for place, character in enumerate(new.text):
        changed = new.text[:place] + ("0" if character != "0" else "1") + new.text[place + 1 :]
        with pytest.raises(Unauthenticated):
            guarded.authenticate(changed)


def test_flipped_bits_are_refused() -> None:
    new = generate_token(is_admin=True)
    guarded = directory(stored(new))
    raw = bytearray(new.text.encode())

    for place in range(len(raw) * 8):
        raw[place // 8] ^= 1 << place % 8
        with pytest.raises(Unauthenticated):
            guarded.authenticate(raw.decode(errors="surrogateescape"))
        raw[place // 8] ^= 1 << place % 8

    assert guarded.authenticate(raw.decode()).token_id == new.id


def test_requests_before_the_tokens_are_read_are_refused() -> None:
    early = TokenDirectory(Database(load({}).database), KEY)

    with pytest.raises(Unavailable) as caught:
        early.authenticate(generate_token(is_admin=True).text)

    assert caught.value.code == "starting"


async def test_known_tokens_work_while_the_database_is_away() -> None:
    new = generate_token(is_admin=False)
    guarded = directory(stored(new))

    with pytest.raises(Unavailable):
        await guarded.refresh()
    assert not await guarded.refresh_if_possible()

    assert guarded.authenticate(new.text).token_id == new.id


# The grant


def test_administrator_successor_expires_within_a_year() -> None:
    """Also the successor of a token from before the limit existed."""
    now = datetime.now(UTC)
    grant = replace(GRANT, scopes=frozenset({Scope.ADMIN}))

    end = lives.expiry_of_successor(grant, created_at=now - timedelta(days=1), now=now)

    assert end == now + timedelta(days=365)
