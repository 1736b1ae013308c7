"""The chain's hash covers all that a change set says, however its JSON was printed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
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


@given(_JSON)
def test_the_quick_way_gives_what_the_standard_asks_for(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_a_number_is_the_same_however_it_was_written() -> None:
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


def test_nothing_can_be_changed_without_changing_the_hash() -> None:
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

    hashes = [link_hash(GENESIS, **_SAID | other) for other in ({}, *others)]
    hashes.append(link_hash(bytes(31) + b"\x01", **_SAID))

    assert len(set(hashes)) == len(others) + 2


def test_what_says_nothing_of_properties_hashes_to_what_it_always_did() -> None:
    """Hashed by the release before there were any; a chain that is stored must go on to hold."""
    always = "6eb4b6342d46deb9c5cba8c697a668cf112a6c10e597e765a73e22734bb580a6"

    assert (
        link_hash(GENESIS, **_SAID).hex()
        == link_hash(GENESIS, **_SAID, properties=None).hex()
        == always
    )


def test_the_order_of_the_changes_does_not_matter() -> None:
    both = [_change(), _change(key="l")]

    assert link_hash(GENESIS, **_SAID | {"changes": both}) == link_hash(
        GENESIS, **_SAID | {"changes": both[::-1]}
    )
