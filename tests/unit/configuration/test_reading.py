"""Imported files: each format becomes JSON values or is refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.configuration.changes.models import ENTRIES_MAX, Kind
from app.configuration.transfer.document_reader import read_document, read_file
from app.configuration.transfer.documents import Document, Format
from app.errors import AppError, Invalid, Malformed, TooLarge
from tests.examples import examples
from tests.paths import SHARED_DATA

CANARY = "canary7f3a"
LARADOCK = SHARED_DATA / "laradock.env"
FLAGS = (SHARED_DATA / "example_flags.flagd.json", SHARED_DATA / "example_flags.flagd.yaml")

CASES = SHARED_DATA / "cases"

needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
needs_laradock = pytest.mark.skipif(not LARADOCK.exists(), reason=f"{LARADOCK.name} is not here")
needs_flags = pytest.mark.skipif(
    not all(path.exists() for path in FLAGS), reason="flagd's example flags are not here"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, name: str, content: str | bytes) -> Document:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path)


def values(document: Document) -> dict[str, Any]:
    return {key: content.value for key, content in document.entries.items()}


# Every format


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"a.b/c-d_e": {"x": [1, 2.5, null, true, "é"]}, "F": ""}'),
        ("a.yaml", "a.b/c-d_e: {x: [1, 2.5, null, true, é]}\nF: ''\n"),
        ("a.yml", "%YAML 1.1\n---\na.b/c-d_e:\n  x: [1, 2.5, ~, True, é]\nF: ''\n..."),
        ("A.JSON", '{"a.b/c-d_e": {"x": [1, 2.5, null, true, "é"]}, "F": ""}'),
    ],
)
def test_trees_become_settings(folder: Path, name: str, content: str) -> None:
    document = read(folder, name, content)

    assert values(document) == {"a.b/c-d_e": {"x": [1, 2.5, None, True, "é"]}, "F": ""}
    assert {content.kind for content in document.entries.values()} == {Kind.SETTING}
    assert document.warnings == ()


@pytest.mark.parametrize(
    "name", ["a.env", ".env", "a.ENV", ".env.production", ".env.local", ".envrc"]
)
def test_lines_of_env_become_texts(folder: Path, name: str) -> None:
    content = (
        "# a remark\n\nexport A=1\r\nB = two words # comment\nC=\n"
        "D='$A ${B} `x`'\nE=\"a\\nb\"\nF=a#b\n"
    )

    document = read(folder, name, content)

    assert values(document) == {
        "A": "1",
        "B": "two words",
        "C": "",
        "D": "$A ${B} `x`",
        "E": "a\nb",
        "F": "a#b",
    }
    assert document.warnings == ()


@pytest.mark.parametrize("name", ["a", "a.txt", "a.toml", "env", "a.env.bak", "json"])
def test_other_endings_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(Invalid, match=r"must end in \.json, \.yaml, \.yml or \.env, or begin"):
        read(folder, name, "{}")


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.env"])
def test_byte_order_mark_is_not_part_of_the_first_key(folder: Path, name: str) -> None:
    """Some editors on Windows add it, and the author does not see it."""
    content = "A=1" if name == "a.env" else '{"A": "1"}'

    document = read(folder, name, b"\xef\xbb\xbf" + content.encode())

    assert values(document) == {"A": "1"}


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.env"])
def test_another_encoding_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(Malformed, match="must be UTF-8"):
        read(folder, name, b"A: '\xe9'")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "[1]"), ("a.json", "null"), ("a.yaml", ""), ("a.yaml", "- a"), ("a.yaml", "text")],
)
def test_document_must_be_an_object(folder: Path, name: str, content: str) -> None:
    with pytest.raises(Malformed, match="must be an object of keys and values"):
        read(folder, name, content)


def test_every_bad_key_is_named_and_no_value(folder: Path) -> None:
    keys = ["", "a b", "-a", "a\n", "é", "k" * 256]
    content = json.dumps({"good": CANARY, **dict.fromkeys(keys, CANARY)})

    with pytest.raises(Invalid) as caught:
        read(folder, "a.json", content)

    assert caught.value.code == "key_invalid"
    assert [violation.field for violation in caught.value.violations] == keys
    assert "must begin with a letter, a digit or _" in caught.value.message
    assert CANARY not in f"{caught.value} {caught.value.violations}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"good": 1, "bad key": 2}'),
        ("a.yaml", "good: 1\nbad key: 2"),
        ("a.env", "good=1\n'bad key'=2"),
    ],
)
def test_invalid_key_is_named_in_every_format(folder: Path, name: str, content: str) -> None:
    with pytest.raises(Invalid, match=r"^'bad key': must begin") as caught:
        read(folder, name, content)

    assert [violation.field for violation in caught.value.violations] == ["bad key"]


def test_value_size_has_a_limit(folder: Path) -> None:
    with pytest.raises(TooLarge) as caught:
        read(folder, "a.json", json.dumps({"a": 1, "big": "x" * 262_144}))

    assert caught.value.violations[0].field == "big"


def test_document_entries_have_a_limit(folder: Path) -> None:
    most = {f"k{i}": i for i in range(ENTRIES_MAX)}

    document = read(folder, "a.json", json.dumps(most))

    assert len(document.entries) == ENTRIES_MAX
    with pytest.raises(Invalid, match=f"must not have more than {ENTRIES_MAX} entries"):
        read(folder, "a.json", json.dumps({**most, "one-more": 0}))


# JSON and .env


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ('{"a": 1, "a": 2}', "must not repeat a name"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e400}', "beyond the range"),
        ('{"a": 9007199254740993}', "beyond 2^53"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a":', "must be JSON"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "deeper"),
    ],
)
def test_json_is_as_strict_as_over_http(folder: Path, content: str, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(folder, "a.json", content)

    assert rule in caught.value.message


def test_name_without_value_is_omitted_with_a_warning(folder: Path) -> None:
    document = read(folder, "a.env", "A\nB=1\n")

    assert values(document) == {"B": "1"}
    assert document.warnings == ("A has no = sign and was left out",)


@pytest.mark.parametrize("line", ["two words=1", "A='open", "=1", "A B"])
def test_unreadable_env_line_is_refused(folder: Path, line: str) -> None:
    """Without a warning the import would look complete."""
    with pytest.raises(Malformed, match="line 2"):
        read(folder, "a.env", f"FIRST=1\n{line}\n")


def test_repeated_env_name_is_refused(folder: Path) -> None:
    """As in the other formats: one of the two values would be lost."""
    with pytest.raises(Malformed, match="repeat"):
        read(folder, "a.env", "A=1\nB=2\nA=3\n")


@pytest.mark.parametrize("content", [b"A=\x00", b"A\x00B=1"])
def test_nul_in_env_is_refused(folder: Path, content: bytes) -> None:
    with pytest.raises(AppError):
        read(folder, "a.env", content)


@needs_laradock
def test_real_env_file_is_read_completely() -> None:
    document = read_file(LARADOCK)

    read_values = values(document)
    assert (len(read_values), document.warnings) == (757, ())
    assert all(type(value) is str for value in read_values.values())
    assert read_values["APP_CODE_PATH_HOST"] == "../"
    assert read_values["WORKSPACE_NPM_REGISTRY"] == ""
    assert read_values["MSSQL_PASSWORD"] == "yourStrong(!)Password"
    assert read_values["PHP_FPM_ADDITIONAL_LOCALES"].startswith("en_US.UTF-8 es_ES.UTF-8")
    assert read_values["TRAEFIK_DASHBOARD_USER"].startswith("admin:$2y$10$lXaL3lj6")


# YAML

_MERGED_TWICE_AT_EACH_OF_40_LEVELS = "l0: &l0 {a: 1, b: 2}\n" + "".join(
    f"l{n}: &l{n} {{<<: [*l{n - 1}, *l{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("a: 1\na: 2", "a name is repeated at line 2"),
        ("a:\n  b: 1\n  b: 2", "a name is repeated at line 3"),
        ("a: 1\n'a': 2", "a name is repeated at line 2"),
        ("1: a", "a name must be a string; quote it at line 1"),
        ("a: {1.5: a}", "a name must be a string"),
        ("true: a", "a name must be a string"),
        ("a: 1e-400", "in the range of a double"),
        ("a: !!int 1_000", "an integer must be one of YAML 1.2"),
        ("a: !!float 1_000.5", "a number must be one of YAML 1.2"),
        ("a: !!bool yes", "a boolean must be true or false"),
        ("~: a", "a name must be a string"),
        ("? [a, b]\n: c", "a name must be a string"),
        ("? {a: b}\n: c", "a name must be a string"),
        ("a: .nan", "a number must be finite"),
        ("a: [-.inf]", "a number must be finite"),
        ("a: 1.0e+400", "a number must be finite"),
        ('a: "x\\0"', "NUL"),
        ('a: "\\ud800"', "must be YAML"),
        ("a: {e\u0301: 1}", "normal form C"),
        ("a: " + "[" * 33 + "1" + "]" * 33, "must not nest deeper than 32"),
        ("[" * 5_000, "must not nest deeper than 35"),
        ("[" * 300_000, "must not nest deeper than 35"),
        ("- " * 300_000, "must not nest deeper than 35"),
        (_MERGED_TWICE_AT_EACH_OF_40_LEVELS, "merges add too many values"),
        ("a: &a [*a]", "must be YAML"),
        ("a: &a {b: *a}", "must be YAML"),
        ("a: 1\n---\nb: 2", "must be YAML"),
        ("a: *b", "must be YAML"),
        ("a: [", "must be YAML"),
        ("a: \tb: c", "must be YAML"),
        ("a: !!python/object/apply:os.getpid []", "must be YAML"),
        ("a: !local b", "must be YAML"),
    ],
)
def test_values_that_json_lacks_are_refused(folder: Path, content: str, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(folder, "a.yaml", content)

    assert rule in caught.value.message


@pytest.mark.parametrize("tag", ["binary aGVsbG8=", "set {x, y}", "omap [x: 1]", "pairs [x: 1]"])
def test_types_of_yaml_that_json_lacks_are_refused(folder: Path, tag: str) -> None:
    with pytest.raises(Malformed):
        read(folder, "a.yaml", f"a: !!{tag}")


@pytest.mark.parametrize(
    "content",
    [
        f"a: !!int {CANARY}",
        f"a: !!float {CANARY}",
        f"a: !!bool {CANARY}",
        f"a: !!map {CANARY}",
        f"a: !{CANARY}",
        f"a: *{CANARY}",
        "a: !!int ''",
        "a: !!float ''",
        'a: "\\U00110000"',
        f'a: "\\UFFFFFFFF{CANARY}"',
    ],
)
def test_text_in_another_format_is_malformed(folder: Path, content: str) -> None:
    """PyYAML's constructors raise the errors of int(), float() and chr()."""
    with pytest.raises(Malformed) as caught:
        read(folder, "a.yaml", content)

    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "-9007199254740993", "0x20000000000001", "1" + "0" * 30, "9" * 5_000],
)
def test_integer_beyond_2_53_is_refused_as_in_json(folder: Path, number: str) -> None:
    with pytest.raises(Malformed, match="2\\^53"):
        read(folder, "a.yaml", f"a: [{number}]")


def test_largest_safe_integers_are_accepted(folder: Path) -> None:
    document = read(folder, "a.yaml", "a: [9007199254740992, -9007199254740992]")

    assert values(document) == {"a": [2**53, -(2**53)]}


def test_dates_are_texts(folder: Path) -> None:
    today = "2024-02-29"

    document = read(folder, "a.yaml", f"a: {today}\nb: [{today}T01:02:03Z]\n{today}: 1")

    assert values(document) == {"a": today, "b": [f"{today}T01:02:03Z"], today: 1}


def test_anchors_and_merges_are_resolved(folder: Path) -> None:
    document = read(folder, "a.yaml", "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}")

    assert values(document) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_merged_yaml_values_can_be_overridden(folder: Path) -> None:
    """Overriding is the purpose of a merge, and the text repeats no name."""
    document = read(folder, "a.yaml", "a: &a {x: 1, y: 1}\nb: {<<: *a, x: 2}")

    assert values(document)["b"] == {"x": 2, "y": 1}


@pytest.mark.slow
def test_billion_laughs_yaml_is_refused(folder: Path) -> None:
    lines = ["a0: &a0 [ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    with pytest.raises(Malformed, match="must not have more than 2000000 values"):
        read(folder, "a.yaml", "\n".join(lines))


@given(
    tree=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True).filter(lambda key: key != "flags"),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.text("aé1: #-\n'\"", max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=4,
    )
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_json_is_read_the_same_as_json_and_as_yaml(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    """A JSON file with the ending .yaml must have the same values."""
    folder = tmp_path_factory.getbasetemp()

    as_json = read(folder, "same.json", json.dumps(tree))
    as_yaml = read(folder, "same.yaml", json.dumps(tree))

    assert values(as_json) == values(as_yaml) == tree


@given(content=st.text("ab:{}[]&*!<>|-'\"\\#%@`,?~0123456789.x_ \n", max_size=30))
@hypothesis_settings(max_examples=examples(300), deadline=None, derandomize=True)
def test_any_yaml_is_json_or_refused_by_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    folder = tmp_path_factory.getbasetemp()

    try:
        read_values = values(read(folder, "any.yaml", content))
    except AppError:
        return
    assert json.loads(msgspec.json.encode(read_values)) == read_values


# flagd


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_flags_and_evaluators_have_kinds_of_their_own(folder: Path, name: str) -> None:
    content = {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {"on": {"state": "ENABLED"}},
        "$evaluators": {"ours": {"in": ["a", "b"]}},
        "metadata": {"x": 1},
        "extra": 1,
    }

    document = read(folder, name, json.dumps(content))

    assert {key: (entry.kind, entry.value) for key, entry in document.entries.items()} == {
        "on": (Kind.FLAG, {"state": "ENABLED"}),
        "ours": (Kind.SEGMENT, {"in": ["a", "b"]}),
    }
    assert document.metadata == {"x": 1}
    assert document.warnings == ("extra of the document was left out",)


def test_flag_and_evaluator_must_not_share_a_name(folder: Path) -> None:
    with pytest.raises(Invalid, match=r"^same: must not be the name of a flag and of an evaluator"):
        read(folder, "a.json", '{"flags": {"same": {}}, "$evaluators": {"same": {}}}')


def test_evaluators_are_an_object(folder: Path) -> None:
    with pytest.raises(Malformed, match=r"^\$evaluators: must be an object"):
        read(folder, "a.json", '{"flags": {}, "$evaluators": []}')


def test_flags_in_a_list_are_read_by_their_keys(folder: Path) -> None:
    flags = [{"key": "a", "variants": {}, "owner": 1}, {"key": "b", "variants": {}}]

    document = read(folder, "a.json", json.dumps({"flags": flags, "metadata": {"x": 1}}))

    assert values(document) == {"a": {"variants": {}, "owner": 1}, "b": {"variants": {}}}
    assert {content.kind for content in document.entries.values()} == {Kind.FLAG}
    assert (document.metadata, document.warnings) == ({"x": 1}, ())


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ([{"variants": {}}], "flags[0]: must be an object with a key"),
        ([1], "flags[0]: must be an object with a key"),
        ([{"key": 1}], "flags[0]: must be an object with a key"),
        ([{"key": "a"}, {"key": "a"}], "flags[1].key: must not be repeated"),
        ("a", "flags: must be an object, or a list of flags with their keys"),
        (None, "flags: must be an object, or a list of flags with their keys"),
    ],
)
def test_list_of_flags_with_bad_key_is_refused(flags: Any, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_document(json.dumps({"flags": flags}).encode(), Format.FLAGD)

    assert caught.value.message == rule


@needs_cases
def test_case_array_of_flags_is_read() -> None:
    document = read_file(CASES / "array-of-flags.flagd.json")

    assert values(document)["pay-slow"]["defaultVariant"] == "off"
    assert document.metadata == {"flagSetId": "shop"}


def test_lenient_reading_omits_values_that_cannot_be_stored() -> None:
    flags = [1, {"key": "my flag"}, {"key": "a", "x": 1}, {"key": "a", "x": 2}, {"key": "b"}]
    document = {"flags": flags, "$evaluators": {"b": {}, "c": {}}}

    document_read = read_document(json.dumps(document).encode(), Format.FLAGD, lenient=True)

    assert values(document_read) == {"a": {"x": 2}, "b": {}, "c": {}}
    assert [warning.split(": ", 1)[0] for warning in document_read.warnings] == [
        "flags[0]",
        "a",
        "b",
        "'my flag'",
    ]


def test_lenient_reading_takes_the_last_of_repeated_names() -> None:
    document = read_document(b"A=1\nB=2\nA=3\n'my name'=4\n", Format.ENV, lenient=True)

    assert values(document) == {"A": "3", "B": "2"}
    assert [warning.split(": ", 1)[0] for warning in document.warnings] == ["A", "'my name'"]


@needs_cases
def test_case_repeated_names_are_refused_or_listed() -> None:
    path = CASES / "repeated.env"

    document = read_file(path, lenient=True)

    assert values(document) == {"HOST": "b", "PORT": "1"}
    assert document.warnings == ("HOST: is repeated at line 3; that value is used",)
    with pytest.raises(Malformed, match="repeat"):
        read_file(path)


@needs_cases
def test_case_names_with_underscores_are_read() -> None:
    document = read_file(CASES / "underscore.env")

    assert values(document) == {"_PIP_EXTRAS": "", "__PUBLIC_FLAG": "1", "UID_OF_APP": "50000"}


@needs_cases
def test_case_mixed_quotes_are_one_value() -> None:
    assert values(read_file(CASES / "mixed-quotes.env")) == {"NAME": "I'm here", "OTHER": "1"}


def test_invalid_flag_name_is_named(folder: Path) -> None:
    with pytest.raises(Invalid, match=r"^'my flag': must begin"):
        read(folder, "a.json", '{"flags": {"my flag": {}}}')


def test_setting_may_be_called_flags(folder: Path) -> None:
    document = read(folder, "a.json", '{"flags": ["a"]}')

    assert document.entries["flags"].kind is Kind.SETTING


@needs_flags
def test_example_of_flagd_is_read_from_json() -> None:
    document = read_file(FLAGS[0])

    tree = json.loads(FLAGS[0].read_text())
    flags = {k: entry.value for k, entry in document.entries.items() if entry.kind is Kind.FLAG}
    segments = {k: e.value for k, e in document.entries.items() if e.kind is Kind.SEGMENT}
    assert flags == tree["flags"]
    assert segments == tree["$evaluators"]
    assert (document.metadata, document.warnings) == (tree["metadata"], ())


@needs_flags
def test_example_of_flagd_has_the_same_flags_in_yaml() -> None:
    as_json, as_yaml = (values(read_file(path)) for path in FLAGS)

    assert as_yaml["myBoolFlag"]["variants"] == {"on": True, "off": False}
    assert as_yaml["myFloatFlag"]["variants"] == as_json["myFloatFlag"]["variants"]
    assert set(as_yaml) <= set(as_json)


@pytest.mark.parametrize(
    ("scalar", "value", "to_others"),
    [
        *((word, word, "a boolean") for word in ("NO", "no", "on", "Off", "yes", "y", "N")),
        *(
            (text, text, "a number")
            for text in ("12:30", "1_000", "1:30.5", "0b11", "-0x1F", "1_0.5")
        ),
        *((text, text, "a date") for text in ("2024-02-29", "2024-02-29T01:02:03Z")),
        ("=", "=", "a special value"),
        ("1e3", 1000.0, "a string"),
        ("1e+06", 1e6, "a string"),
        ("1.5e3", 1500.0, "a string"),
        ("+.5", 0.5, "a string"),
        ("0o17", 15, "a string"),
        ("010", 10, "an octal number or a string"),
        ("-08", -8, "an octal number or a string"),
        ("0x1F", 31, None),
        ("true", True, None),
        ("TRUE", True, None),
        ("False", False, None),
        ("~", None, None),
        ("Null", None, None),
        ("nULL", "nULL", None),
        ("0", 0, None),
        ("+5", 5, None),
        ("5.", 5.0, None),
        (".5", 0.5, None),
        ("1.5e+3", 1500.0, None),
        ("'NO'", "NO", None),
        ("!!str 1e3", "1e3", None),
        ("0x", "0x", None),
        ("1.2.3", "1.2.3", None),
        ("tRUE", "tRUE", None),
    ],
)
def test_yaml_scalars_follow_the_core_schema(
    folder: Path, scalar: str, value: Any, to_others: str | None
) -> None:
    document = read(folder, "a.yaml", f"# c\na: [{scalar}]\n")

    decoded = values(document)["a"][0]
    assert (decoded, type(decoded)) == (value, type(value))
    assert [f"but {to_others} in YAML 1.1" in warning for warning in document.warnings] == (
        [True] if to_others else []
    )
    assert all(warning.startswith("line 2: ") for warning in document.warnings)


def test_yaml_name_that_yaml_1_1_reads_differently_is_warned(folder: Path) -> None:
    document = read(folder, "a.yaml", "on: 1\nNO: 2\n")

    assert values(document) == {"on": 1, "NO": 2}
    assert [warning[:7] for warning in document.warnings] == ["line 1:", "line 2:"]


def test_yaml_warnings_have_a_limit(folder: Path) -> None:
    document = read(folder, "a.yaml", "a: [" + "no, " * 1_000 + "no]")

    assert len(document.warnings) == 101
    assert document.warnings[-1].startswith("901 more values")


@pytest.mark.parametrize("text", ["\U0001f600", "/", "x" * 2_000])
def test_json_in_yaml_is_read_whole(folder: Path, text: str) -> None:
    """Libyaml supports neither escaped surrogates nor names of over 1,024 characters."""
    written = json.dumps({"a": {text: text}}).replace("/", "\\/")

    assert values(read(folder, "a.yaml", written)) == {"a": {text: text}}


@pytest.mark.parametrize(
    ("format_", "raw", "rule"),
    [
        (Format.JSON, b"[" + b"{}," * 3_000 + b"{}]", "more than 1000 values"),
        (Format.YAML, b"a: [" + b"a," * 4_000 + b"a]", "more than 1000 values"),
        (Format.ENV, b"#\n" * 200_001, "more than 200000 lines"),
        (Format.YAML, b"a: !!map [1]", "must be a mapping, as its tag says"),
        (Format.JSON, b'{"flagstone": 1, "entries": []}', "entries: must be an object"),
    ],
)
def test_too_large_or_empty_yaml_is_refused_before_building(
    format_: Format, raw: bytes, rule: str
) -> None:
    with pytest.raises(Malformed, match=rule):
        read_document(raw, format_, nodes_max=1_000)
