"""The hash of the chain covers all of a change set, in every printed form of its JSON."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.chain import GENESIS, canonical, link_hash
from app.configuration.changes.models import (
    Change,
    ChangeKind,
    Content,
    Entry,
    Kind,
    Link,
    PropertiesChange,
)
from app.environments.models import Properties

_SAFE = 2**53 - 1
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-_SAFE, _SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("aZ0~\\é𝄞\uffee\x7f\n"), inner),
    max_leaves=20,
)


@pytest.mark.slow
@given(_JSON)
def test_fast_canonical_json_equals_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_string_with_digits_is_canonical() -> None:
    value = {"-0": ["user-0", "1e5", "2.5", "1234567890123456789"], "é": "\x7f\n-0"}
    assert canonical(value) == rfc8785.dumps(value)


def test_number_is_canonical_however_it_was_written() -> None:
    assert canonical([1.0, -0.0, 2**53, 1e300]) == canonical([1, 0, float(2**53), 10**300])


def _change(value: object = 1, **fields: Any) -> Change:
    absent = Entry(key="k", content=None, version=None, last_version=0)
    content = Content(kind=Kind.SETTING, value=value)
    return replace(Change(key="k", before=absent, after=content, version=1), **fields)


def _described(**fields: Any) -> PropertiesChange:
    before = Properties(metadata={}, fractional="v3", protected=False, version=1)
    after = msgspec.structs.replace(before, **{"metadata": {"a": 1}, "version": 2} | fields)
    return PropertiesChange(before=before, after=after)


_SAID: dict[str, Any] = {
    "environment": "local",
    "revision": 1,
    "kind": ChangeKind.EDIT,
    "actor": "token:x",
    "message": "why",
    "created_at": datetime(2026, 1, 2, tzinfo=UTC),
    "changes": [_change()],
}


def test_any_change_of_a_record_changes_the_hash() -> None:
    before = Entry(key="k", content=Content(kind=Kind.FLAG, value=2), version=3, last_version=3)
    described = Content(kind=Kind.SETTING, value=1, schema={}, description="d")
    others: list[dict[str, Any]] = [
        {"environment": "other"},
        {"revision": 2},
        {"kind": ChangeKind.REVERT},
        {"actor": "token:y"},
        {"message": ""},
        {"created_at": _SAID["created_at"] + timedelta(microseconds=1)},
        {"changes": []},
        {"changes": [_change(2)]},
        {"changes": [_change(True)]},
        {"changes": [_change(key="l")]},
        {"changes": [_change(version=2)]},
        {"changes": [_change(before=before)]},
        {"changes": [_change(after=None, version=None)]},
        {"changes": [_change(after=described)]},
        {"changes": [_change(), _change(key="l")]},
        {"properties": _described()},
        {"properties": _described(metadata={"a": True})},
        {"properties": _described(fractional="v2")},
        {"properties": _described(protected=True)},
        {"properties": _described(version=3)},
        {"properties": PropertiesChange(before=_described().after, after=_described().before)},
    ]

    hashes = [link_hash(GENESIS, Link(**_SAID | other)) for other in ({}, *others)]
    hashes.append(link_hash(bytes(31) + b"\x01", Link(**_SAID)))

    assert len(set(hashes)) == len(others) + 2


def test_record_without_properties_retains_its_hash() -> None:
    """A record from before properties existed must retain its hash."""
    always = "6eb4b6342d46deb9c5cba8c697a668cf112a6c10e597e765a73e22734bb580a6"

    assert (
        link_hash(GENESIS, Link(**_SAID)).hex()
        == link_hash(GENESIS, Link(**_SAID, properties=None)).hex()
        == always
    )


def test_order_of_changes_does_not_change_the_hash() -> None:
    both = [_change(), _change(key="l")]

    assert link_hash(GENESIS, Link(**_SAID | {"changes": both})) == link_hash(
        GENESIS, Link(**_SAID | {"changes": both[::-1]})
    )
