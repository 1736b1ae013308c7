"""A sealed value can be opened only unchanged, with its data key, for its entry and version."""

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
def test_sealed_value_opens(value: bytes, entry_version: EntryVersion) -> None:
    opened = fresh(value)

    sealed = KEY.seal(opened, entry_version)

    assert KEY.open(sealed, entry_version) == opened
    assert data_key_id(sealed) == ID
    assert commitment(sealed) == opened.commitment
    assert len(sealed) == SEALED_BYTES_MIN + len(value)


@given(_ENTRY_VERSIONS, _ENTRY_VERSIONS)
def test_sealed_value_other_entry_version_is_refused(
    entry_version: EntryVersion, elsewhere: EntryVersion
) -> None:
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
        # The same letters, but the boundary between two fields is at another place.
        replace(ENTRY_VERSION, environment="productiond", key="atabase/password"),
        replace(ENTRY_VERSION, environment="", key="productiondatabase/password"),
    ],
)
def test_sealed_value_is_bound_to_each_field(elsewhere: EntryVersion) -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        KEY.open(sealed, elsewhere)


@given(st.binary(max_size=100), st.integers(1, 255))
def test_sealed_value_changed_byte_is_refused(value: bytes, flip: int) -> None:
    sealed = KEY.seal(fresh(value), ENTRY_VERSION)

    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= flip
        with pytest.raises(EnvelopeError):
            KEY.open(bytes(changed), ENTRY_VERSION)


@given(st.binary(max_size=100))
def test_other_bytes_are_refused(anything: bytes) -> None:
    with pytest.raises(EnvelopeError):
        KEY.open(anything, ENTRY_VERSION)


@given(st.integers(0, SEALED_BYTES_MIN + 4))
def test_truncated_value_is_refused(length: int) -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        KEY.open(sealed[:length], ENTRY_VERSION)


def test_other_key_with_same_id_is_refused() -> None:
    sealed = KEY.seal(fresh(b"value"), ENTRY_VERSION)

    with pytest.raises(EnvelopeError):
        DataKey(ID, bytes(32)).open(sealed, ENTRY_VERSION)


def test_sealing_twice_differs_but_commitment_is_equal() -> None:
    value = fresh(b"value")

    many = {KEY.seal(value, ENTRY_VERSION) for _ in range(100)}

    assert len(many) == 100
    assert {commitment(sealed) for sealed in many} == {value.commitment}


def test_equal_values_have_different_commitments() -> None:
    """Otherwise a list of likely values would reveal the secret."""
    assert len({fresh(b"value").commitment for _ in range(100)}) == 100


def test_plain_secret_repr_hides_value() -> None:
    assert "value" not in repr(PlainSecret(b"salt" * 8, b"my value")).replace("PlainSecret", "")


_WHERE = {"environment": "production", "data_key_id": ID, "kek_id": "20261124-0a0b0c0d"}


@given(st.binary(min_size=32, max_size=32))
def test_wrapped_key_unwraps(material: bytes) -> None:
    kek = os.urandom(32)

    assert unwrap(wrap(material, kek, **_WHERE), kek, **_WHERE) == material  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other", [{"environment": "staging"}, {"data_key_id": b"\x02" * 8}, {"kek_id": "x"}]
)
def test_wrapped_key_is_bound_to_context(other: dict[str, object]) -> None:
    kek = os.urandom(32)
    wrapped = wrap(MATERIAL, kek, **_WHERE)  # type: ignore[arg-type]

    with pytest.raises(EnvelopeError):
        unwrap(wrapped, kek, **_WHERE | other)  # type: ignore[arg-type]
    with pytest.raises(EnvelopeError):
        unwrap(wrapped, os.urandom(32), **_WHERE)  # type: ignore[arg-type]


@given(st.integers(1, 255))
def test_wrapped_key_changed_byte_is_refused(flip: int) -> None:
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
def test_joined_fields_are_unambiguous(one: list[str | bytes], other: list[str | bytes]) -> None:
    as_bytes = [
        [f.encode() if isinstance(f, str) else f for f in fields] for fields in (one, other)
    ]

    assert (joined(*one) == joined(*other)) == (as_bytes[0] == as_bytes[1])
