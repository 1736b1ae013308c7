"""A sealed value opens with its own data key, for its own entry and version, and unchanged only."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.crypto.fields import joined
from app.secrets.envelope import (
    SEALED_BYTES_MIN,
    DataKey,
    EntryVersion,
    EnvelopeError,
    PlainSecret,
    commitment,
    data_key_id,
    fresh,
    unwrap,
    wrap,
)

ID, MATERIAL = b"\x01" * 8, bytes(range(32))
KEY = DataKey(ID, MATERIAL)
ENTRY_VERSION = EntryVersion(environment="production", key="database/password", version=7)

_ENTRY_VERSIONS = st.builds(
    EntryVersion,
    environment=st.text(max_size=63),
    key=st.text(max_size=255),
    version=st.integers(1, 2**63 - 1),
)


@given(st.binary(max_size=2_000), _ENTRY_VERSIONS)
def test_what_is_sealed_comes_back(value: bytes, entry_version: EntryVersion) -> None:
    opened = fresh(value)

    sealed = KEY.seal(opened, entry_version)

    assert KEY.open(sealed, entry_version) == opened
    assert data_key_id(sealed) == ID
    assert commitment(sealed) == opened.commitment
    assert len(sealed) == SEALED_BYTES_MIN + len(value)


@given(_ENTRY_VERSIONS, _ENTRY_VERSIONS)
def test_it_opens_nowhere_else(entry_version: EntryVersion, elsewhere: EntryVersion) -> None:
    sealed = KEY.seal(fresh(b"value"), entry_version)

    if elsewhere == entry_version:
        KEY.open(sealed, elsewhere)
        return
    with pytest.raises(EnvelopeError):
        KEY.open(sealed, elsewhere)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(ENTRY_VERSION, environment="staging"),
        replace(ENTRY_VERSION, key="database/passwore"),
        replace(ENTRY_VERSION, version=8),
        # The same letters, with the border between two fields elsewhere.
        replace(ENTRY_VERSION, environment="productiond", key="atabase/password"),
        replace(ENTRY_VERSION, environment="", key="productiondatabase/password"),
    ],
)
def test_every_part_of_the_place_counts(elsewhere: EntryVersion) -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        KEY.open(sealed, elsewhere)


@given(st.binary(max_size=100), st.integers(1, 255))
def test_every_byte_that_is_changed_is_found(value: bytes, flip: int) -> None:
    sealed = KEY.seal(fresh(value), ENTRY_VERSION)

    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= flip
        with pytest.raises(EnvelopeError):
            KEY.open(bytes(changed), ENTRY_VERSION)


@given(st.binary(max_size=100))
def test_bytes_that_were_never_sealed_are_refused(anything: bytes) -> None:
    with pytest.raises(EnvelopeError):
        KEY.open(anything, ENTRY_VERSION)


@given(st.integers(0, SEALED_BYTES_MIN + 4))
def test_what_was_cut_is_refused(length: int) -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        KEY.open(sealed[:length], ENTRY_VERSION)


def test_another_key_of_the_same_id_opens_nothing() -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        DataKey(ID, bytes(32)).open(sealed, ENTRY_VERSION)


def test_what_is_sealed_twice_never_looks_the_same_and_commits_to_the_same() -> None:
    value = fresh(b"value")

    many = {KEY.seal(value, ENTRY_VERSION) for _ in range(100)}

    assert len(many) == 100
    assert {commitment(sealed) for sealed in many} == {value.commitment}


def test_equal_values_that_were_written_twice_share_no_commitment() -> None:
    """Or else a list of likely values would tell what a secret is."""
    assert len({fresh(b"value").commitment for _ in range(100)}) == 100


def test_who_holds_a_value_in_memory_does_not_print_it() -> None:
    assert "value" not in repr(PlainSecret(b"salt" * 8, b"my value")).replace("PlainSecret", "")


_WHERE = {"environment": "production", "data_key_id": ID, "kek_id": "20261124-0a0b0c0d"}


@given(st.binary(min_size=32, max_size=32))
def test_a_wrapped_key_comes_back(material: bytes) -> None:
    kek = os.urandom(32)

    assert unwrap(wrap(material, kek, **_WHERE), kek, **_WHERE) == material  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other", [{"environment": "staging"}, {"data_key_id": b"\x02" * 8}, {"kek_id": "x"}]
)
def test_a_wrapped_key_opens_for_what_it_was_wrapped_for(other: dict[str, object]) -> None:
    kek = os.urandom(32)
    wrapped = wrap(MATERIAL, kek, **_WHERE)  # type: ignore[arg-type]

    with pytest.raises(EnvelopeError):
        unwrap(wrapped, kek, **_WHERE | other)  # type: ignore[arg-type]
    with pytest.raises(EnvelopeError):
        unwrap(wrapped, os.urandom(32), **_WHERE)  # type: ignore[arg-type]


@given(st.integers(1, 255))
def test_every_byte_of_a_wrapped_key_counts(flip: int) -> None:
    kek = os.urandom(32)
    wrapped = wrap(MATERIAL, kek, **_WHERE)  # type: ignore[arg-type]

    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= flip
        with pytest.raises(EnvelopeError):
            unwrap(bytes(changed), kek, **_WHERE)  # type: ignore[arg-type]
        with pytest.raises(EnvelopeError):
            unwrap(wrapped[:position], kek, **_WHERE)  # type: ignore[arg-type]


_FIELDS = st.lists(st.text(max_size=5) | st.binary(max_size=5), max_size=4)


@given(_FIELDS, _FIELDS)
def test_no_two_lists_of_fields_look_alike(
    one: list[str | bytes], other: list[str | bytes]
) -> None:
    as_bytes = [
        [f.encode() if isinstance(f, str) else f for f in fields] for fields in (one, other)
    ]

    assert (joined(*one) == joined(*other)) == (as_bytes[0] == as_bytes[1])
