"""Sealed settings: only a sealed value for this setting and identity can be opened."""

import base64
import string
from datetime import UTC, datetime

import pyrage
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyrage import x25519

from app.crypto.identity import Identity, IdentityError, new_identity, parse_identity
from app.crypto.sealed import (
    PREFIX,
    RECIPIENTS_MAX,
    TEXT_BYTES_MAX,
    SealedError,
    is_sealed,
    open_sealed,
    seal,
)
from app.settings import Secret
from tests.examples import examples

CANARY = "canary7f3a"
NAME = "DATABASE_URL"
VALUE = Secret(f"postgresql://app:{CANARY}@db/flagstone")
SPELLED = string.ascii_letters + string.digits + "-_"


def identity_pair() -> tuple[Identity, str]:
    text, recipient = new_identity(datetime(2026, 11, 17, tzinfo=UTC))
    return parse_identity(text), recipient


IDENTITY, RECIPIENT = identity_pair()
OTHER, OTHER_RECIPIENT = identity_pair()
SEALED = seal(NAME, VALUE, [RECIPIENT])

VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: bool(text.strip()) and not is_sealed(text)
)
NAMES = st.text(string.ascii_uppercase + string.digits + "_", min_size=1)


def hand_made(content: str | bytes) -> str:
    """Encrypt any content for IDENTITY. Anyone who has age and the recipient can do this."""
    plain = content.encode() if isinstance(content, str) else content
    file = pyrage.encrypt(plain, [x25519.Recipient.from_str(RECIPIENT)])
    return PREFIX + base64.urlsafe_b64encode(file).decode().rstrip("=")


def refusal(text: str, name: str = NAME, identity: Identity = IDENTITY) -> str:
    with pytest.raises(SealedError) as caught:
        open_sealed(name, text, identity)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@given(name=NAMES, value=VALUES)
@hypothesis_settings(max_examples=examples(500), deadline=None)
def test_sealed_setting_opens(name: str, value: str) -> None:
    sealed = seal(name, Secret(value), [RECIPIENT])

    opened = open_sealed(name, sealed, IDENTITY)

    assert opened.value.reveal() == value
    assert opened.recipients == (RECIPIENT,)
    assert is_sealed(sealed)


@given(name=NAMES, other=NAMES, value=VALUES)
@hypothesis_settings(max_examples=examples(200), deadline=None)
def test_sealed_setting_other_name_is_refused(name: str, other: str, value: str) -> None:
    sealed = seal(name, Secret(value), [RECIPIENT])

    if name != other:
        assert refusal(sealed, name=other) == "is sealed for another setting"


def test_sealed_setting_opens_for_recipients_only() -> None:
    sealed = seal(NAME, VALUE, [OTHER_RECIPIENT, RECIPIENT, RECIPIENT])
    stranger, _ = identity_pair()

    for identity in (IDENTITY, OTHER):
        opened = open_sealed(NAME, sealed, identity)
        assert opened.value == VALUE
        assert opened.recipients == tuple(sorted((RECIPIENT, OTHER_RECIPIENT)))
    assert "for other recipients" in refusal(sealed, identity=stranger)


def test_sealing_twice_differs_and_hides_value() -> None:
    again = seal(NAME, VALUE, [RECIPIENT])

    assert again != SEALED
    shown = base64.urlsafe_b64decode(SEALED.removeprefix(PREFIX) + "==")
    assert not any(part in shown for part in (CANARY.encode(), NAME.encode(), RECIPIENT.encode()))


# Changed


@pytest.mark.parametrize("spelling", [SPELLED, string.printable + "\x00ä\udc80"])
def test_sealed_setting_changed_character_is_refused(spelling: str) -> None:
    """Replace each character by others, of base64url and of any kind."""
    for place, character in enumerate(SEALED):
        for step in (1, 2, 13, 37):
            other = spelling[(spelling.find(character) + step) % len(spelling)]
            changed = SEALED[:place] + other + SEALED[place + 1 :]
            if changed.strip() == SEALED:
                continue
            assert is_sealed(changed)
            refusal(changed)


@pytest.mark.parametrize("number", [1, 128, 255])
def test_sealed_setting_changed_age_byte_is_refused(number: int) -> None:
    file = base64.urlsafe_b64decode(SEALED.removeprefix(PREFIX) + "==")
    for place in range(len(file)):
        changed = bytearray(file)
        changed[place] ^= number
        refusal(PREFIX + base64.urlsafe_b64encode(changed).decode().rstrip("="))


def test_sealed_setting_cut_or_extended_is_refused() -> None:
    for place in range(len(PREFIX), len(SEALED)):
        refusal(SEALED[:place])
        refusal(SEALED[:place] + SEALED[place + 1 :])
        refusal(SEALED[:place] + "A" + SEALED[place:])
    for end in ("=", "==", "A", "\n\n\x00", "." * 9):
        refusal(SEALED + end)


def test_sealed_setting_other_base64_form_is_refused() -> None:
    """The last character has unused bits, which decoders ignore."""
    lengths: set[int] = set()
    while len(lengths) < 3:
        sealed = seal(NAME, VALUE, [RECIPIENT])
        lengths.add(len(sealed) % 4)
        for character in SPELLED:
            if character != sealed[-1]:
                refusal(sealed[:-1] + character)


@pytest.mark.parametrize(
    "pattern",
    [
        "sealed:",
        "sealed:age:",
        "sealed:age:v1:",
        "sealed:age:v2:{file}",
        "SEALED:AGE:V1:{file}",
        '"sealed:age:v1:{file}"',
        "{file}",
        "sealed:age:v1:" + "A" * TEXT_BYTES_MAX,
    ],
    ids=range(8),
)
def test_malformed_sealed_setting_is_refused(pattern: str) -> None:
    text = pattern.format(file=SEALED.removeprefix(PREFIX))

    assert is_sealed(text)
    assert "sealed" in refusal(text)


def test_armored_age_file_is_refused() -> None:
    """In ASCII armor some characters, for example line breaks, could change unnoticed."""
    plain = f"flagstone/setting/1\n{NAME}\n{RECIPIENT}\nv".encode()
    armoured = pyrage.encrypt(plain, [x25519.Recipient.from_str(RECIPIENT)], armored=True)

    assert "damaged" in refusal(PREFIX + base64.urlsafe_b64encode(armoured).decode().rstrip("="))


# Fields that a sealed value is bound to


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("flagstone/setting/1\nDATABASE_URL\nOWN\nv", None),
        ("flagstone/setting/1\nDATABASE_URL\nOWN,OTHER\nv\nw", None),
        ("flagstone/setting/2\nDATABASE_URL\nOWN\nv", "a later release"),
        ("\nflagstone/setting/1\nDATABASE_URL\nOWN\nv", "not a sealed setting"),
        ("flagstone/setting/1\nDATABASE_URL \nOWN\nv", "another setting"),
        ("flagstone/setting/1\ndatabase_url\nOWN\nv", "another setting"),
        ("flagstone/setting/1\n\nOWN\nv", "another setting"),
        ("flagstone/setting/1\nDATABASE_URL\nOTHER\nv", "does not list the identity"),
        ("flagstone/setting/1\nDATABASE_URL\n\nv", "age recipients"),
        ("flagstone/setting/1\nDATABASE_URL\ncanary7f3a\nv", "age recipients"),
        ("flagstone/setting/1\nDATABASE_URL\nOWN,\nv", "age recipients"),
        ("flagstone/setting/1\nDATABASE_URL\nOWN\n", "no value"),
        ("flagstone/setting/1\nDATABASE_URL\nOWN\n \n", "no value"),
        ("flagstone/setting/1\nDATABASE_URL\nOWN\nAGAIN", "another sealed value"),
        ("flagstone/setting/1\nDATABASE_URL", "age recipients"),
        ("canary7f3a", "not a sealed setting"),
        (b"", "not a sealed setting"),
        (b"\xff canary7f3a", "not a sealed setting"),
    ],
)
def test_sealed_content_each_field_is_checked(content: str | bytes, rule: str | None) -> None:
    if isinstance(content, str):
        # Insert the random values here: test names must be equal in all worker processes.
        recipient, other, again = RECIPIENT, OTHER_RECIPIENT, SEALED
        content = content.replace("OWN", recipient).replace("OTHER", other).replace("AGAIN", again)
    sealed = hand_made(content)

    if rule is None:
        assert open_sealed(NAME, sealed, IDENTITY).value.reveal().startswith("v")
    else:
        assert rule in refusal(sealed)


# Values that cannot be sealed


@pytest.mark.parametrize(
    "value", ["", " \n", SEALED, "sealed:x", "\udc80" + CANARY, CANARY * 9999], ids=range(6)
)
def test_unopenable_value_is_not_sealed(value: str) -> None:
    with pytest.raises(SealedError) as caught:
        seal(NAME, Secret(value), [RECIPIENT])

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "recipients",
    [[], ["age1"], [RECIPIENT, CANARY], ["ssh-ed25519 AAAA"], [RECIPIENT.upper() + "Q"]],
    ids=range(5),
)
def test_recipient_must_be_an_age_key(recipients: list[str]) -> None:
    with pytest.raises(SealedError) as caught:
        seal(NAME, VALUE, recipients)

    assert CANARY not in str(caught.value)


def test_recipients_above_limit_are_refused() -> None:
    many = [identity_pair()[1] for _ in range(RECIPIENTS_MAX + 1)]

    assert open_sealed(NAME, seal(NAME, VALUE, [RECIPIENT, *many[2:]]), IDENTITY).value == VALUE
    with pytest.raises(SealedError, match="1 to 32 recipients"):
        seal(NAME, VALUE, many)


# Identities


def test_identity_file_may_have_keys_and_comments() -> None:
    first, second = (new_identity(datetime.now(UTC))[0] for _ in range(2))

    both = parse_identity(f"# two\n\n{first}\r\n  {second}")

    assert len(both.recipients) == 2
    for recipient in both.recipients:
        assert open_sealed(NAME, seal(NAME, VALUE, [recipient]), both).value == VALUE


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", CANARY, "AGE-SECRET-KEY-1" + CANARY, RECIPIENT, "\x00"],
    ids=range(6),
)
def test_invalid_identity_is_refused_without_quoting(text: str) -> None:
    with pytest.raises(IdentityError) as caught:
        parse_identity(text)

    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_identity_repr_hides_key() -> None:
    text, recipient = new_identity(datetime.now(UTC))
    identity = parse_identity(text)

    assert "AGE-SECRET-KEY" not in f"{identity} {identity!r}"
    assert "AGE-SECRET-KEY-1" in text
    assert recipient in text
    assert identity.recipients == (recipient,)
