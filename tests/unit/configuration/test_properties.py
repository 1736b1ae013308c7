"""Merge patches (RFC 7396) of the properties of an environment, whose members are never null."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.properties import (
    PropertiesPatch,
    have_same_properties,
    patch_towards,
    patched,
    without_version,
    wrong_members,
)
from app.configuration.snapshots.disk import SavedEnvironment
from app.environments.models import Properties

_VALUES = st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, "", "1"])
_METADATA = st.dictionaries(st.sampled_from("abc"), _VALUES)
_PROPERTIES = st.builds(
    Properties,
    metadata=_METADATA,
    fractional=st.sampled_from(["v2", "v3"]),
    protected=st.booleans(),
    version=st.integers(1, 9),
)


def _said(metadata: Mapping[str, Any]) -> Properties:
    return Properties(metadata=dict(metadata), fractional="v3", protected=False, version=1)


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        # The cases of appendix A of RFC 7396 that metadata can represent.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({}, {"a": None}, {}),
        ({"a": "foo"}, None, {}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_patch_is_merged(before: Any, patch: Any, after: Any) -> None:
    assert patched(_said(before), PropertiesPatch(metadata=patch)).metadata == after


@given(_PROPERTIES, _PROPERTIES)
def test_patch_leads_from_any_properties_to_any_other(
    before: Properties, target: Properties
) -> None:
    patch = patch_towards(target, before)

    if patch is None:
        assert have_same_properties(target, before)
    else:
        after = patched(before, patch)
        # As JSON, true and 1 are two values.
        assert _json(after) == _json(target)
        assert after.version == before.version + 1


@given(_PROPERTIES)
def test_same_properties_need_no_patch(properties: Properties) -> None:
    later = msgspec.structs.replace(properties, version=properties.version + 1)

    assert patch_towards(later, properties) is None


def _json(properties: Properties) -> bytes:
    return msgspec.json.encode(without_version(properties), order="sorted")


@given(st.dictionaries(st.text(max_size=2), st.none() | _VALUES | st.lists(_VALUES)))
def test_each_wrong_member_and_no_other_is_named(metadata: dict[str, Any]) -> None:
    wrong = wrong_members(metadata)

    bad = [name for name, value in metadata.items() if isinstance(value, list)]
    nameless = metadata.get("") is not None
    assert len(wrong) == min(20, len(bad) + nameless)


def test_environment_on_disk_of_earlier_release_is_read() -> None:
    """An earlier release stored no version of the properties."""
    left = {
        "name": "local",
        "tier": "local",
        "revision": 3,
        "epoch": "e",
        "hash": None,
        "protected": False,
        "fractional": "v3",
        "metadata": {},
    }
    raw = msgspec.json.encode({"environment": left, "entries": []})

    assert msgspec.json.decode(raw, type=SavedEnvironment).environment.version == 1
