"""The patch of an environment's properties changes exactly what a person changed."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.intents import patch_of
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.properties import patched, without_version
from app.console.environments.forms import PropertiesForm, protection_form
from app.environments.models import Properties
from app.errors import Invalid

METADATA = st.dictionaries(
    st.sampled_from("abc"), st.booleans() | st.integers(0, 2) | st.sampled_from(["x", ""])
)
PROTECTIONS = st.fixed_dictionaries(
    {
        "approvals": st.integers(1, 3),
        "self_approval": st.booleans(),
        "keys": st.lists(st.sampled_from(["a/", "b"]), unique=True),
    }
)
PROPERTIES = st.fixed_dictionaries(
    {
        "metadata": METADATA,
        "fractional": st.sampled_from(["v2", "v3"]),
        "protected": st.booleans(),
        "protection": st.none() | PROTECTIONS,
    }
)


@given(PROPERTIES, PROPERTIES)
def test_patch_leads_from_the_base_to_what_was_typed(before: Any, after: Any) -> None:
    form = PropertiesForm(
        version=1,
        metadata=json.dumps(after["metadata"]),
        fractional=after["fractional"],
        protected=after["protected"],
        protection=protection_form(after["protection"]),
        base=before,
    )
    if are_equal(before, after):
        with pytest.raises(Invalid, match="Nothing has changed"):
            form.patch()
        return

    properties = patched(
        msgspec.convert({**before, "version": 1}, Properties), patch_of(form.patch(), None)
    )

    assert are_equal(msgspec.json.decode(msgspec.json.encode(without_version(properties))), after)
