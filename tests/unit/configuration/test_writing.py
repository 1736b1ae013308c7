"""An export can be read back without a loss, in every format that can represent it."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.changes.json_patch import are_equal, have_same_content
from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.document_reader import read_document
from app.configuration.transfer.document_writer import write_document
from app.configuration.transfer.documents import Format
from app.environments.models import Environment

ENVIRONMENT = Environment(
    name="local",
    tier="local",
    revision=7,
    epoch="e",
    hash=None,
    protected=False,
    fractional="v3",
    metadata={"team": "x"},
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NAMES = st.text("abé_1 ", max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(
        [
            "2026-01-01",
            "1e3",
            "1e+06",
            "0x1F",
            "-0x1F",
            "0o17",
            "08",
            "yes",
            "NO",
            "y",
            "n",
            "on",
            "true",
            "null",
            "Null",
            "~",
            "012",
            "1_000",
            "12:30",
            "<<",
            "=",
            ".5",
            "+.5",
            "5.",
            "1.5e3",
            ".inf",
            ".NaN",
            "a\u2028b",
            "a\x85b",
            "\ufeffa",
            "-",
        ]
    )
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)
)
CONTENTS = st.builds(
    Content,
    kind=st.sampled_from([Kind.SETTING, Kind.FLAG, Kind.SEGMENT]),
    value=VALUES,
    schema=st.none() | st.dictionaries(NAMES, SCALARS, max_size=3),
    description=st.none() | TEXTS,
)
KEYS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True)


@pytest.mark.slow
@pytest.mark.parametrize("format_", [Format.JSON, Format.YAML])
@given(entries=st.dictionaries(KEYS, CONTENTS, max_size=4))
@hypothesis_settings(deadline=None)
def test_whole_document_loses_nothing(format_: Format, entries: dict[str, Content]) -> None:
    text = write_document(ENVIRONMENT, entries, format_)

    result = read_document(text, format_)

    assert result.is_whole
    assert result.kinds == frozenset(Kind)
    assert result.entries.keys() == entries.keys()
    assert all(have_same_content(content, result.entries[key]) for key, content in entries.items())


@pytest.mark.slow
@given(st.dictionaries(KEYS, CONTENTS, max_size=4))
@hypothesis_settings(deadline=None)
def test_yaml_export_means_the_same_in_yaml_1_1(entries: dict[str, Content]) -> None:
    text = write_document(ENVIRONMENT, entries, Format.YAML)

    as_json = json.loads(write_document(ENVIRONMENT, entries, Format.JSON))
    assert are_equal(as_json, yaml.safe_load(text))
    assert read_document(text, Format.YAML).warnings == ()


def test_env_file_lists_entries_it_cannot_have() -> None:
    entries = {
        "PORT": Content(kind=Kind.SETTING, value=8080),
        "OBJECT": Content(kind=Kind.SETTING, value={"a": 1}),
        "NULL": Content(kind=Kind.SETTING, value=None),
        "a/b": Content(kind=Kind.SETTING, value="x"),
        "FLAG": Content(kind=Kind.FLAG, value="x"),
    }

    text = write_document(ENVIRONMENT, entries, Format.ENV).decode()

    assert text.splitlines() == [
        "# Left out, because this format cannot hold them: FLAG, NULL, OBJECT, a/b",
        "# Not strings, but read as strings from this file: PORT",
        "PORT=8080",
    ]


def test_flagd_document_has_flags_segments_and_metadata() -> None:
    entries = {
        "on": Content(kind=Kind.FLAG, value={"state": "ENABLED"}),
        "staff": Content(kind=Kind.SEGMENT, value={"==": [1, 1]}),
        "setting": Content(kind=Kind.SETTING, value=1),
    }

    text = write_document(ENVIRONMENT, entries, Format.FLAGD)
    result = read_document(text, Format.FLAGD)

    assert result.entries.keys() == {"on", "staff"}
    assert (result.metadata, result.warnings) == (ENVIRONMENT.metadata, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"flagstone": 2, "entries": {}}', "flagstone: must be 1"),
        ('{"flagstone": true, "entries": {}}', "flagstone: must be 1"),
        ('{"flagstone": 1, "entries": {"k": 1}}', "entries.k.body: expected"),
        (
            '{"flagstone": 1, "entries": {"k": {"kind": "x", "value": 1}}}',
            "entries.k.kind: must be one of",
        ),
        ('{"flagstone": 1, "entries": {"k": {"kind": "flag"}}}', "missing required field `value`"),
        (
            '{"flagstone": 1, "entries": {"k": {"kind": "flag", "value": 1, "more": 1}}}',
            "unknown field `more`",
        ),
    ],
)
def test_whole_document_is_read_strictly(text: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        read_document(text.encode(), Format.JSON)
