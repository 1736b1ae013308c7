"""Files of many configurations: JSON, YAML and `.env`, and flagd's own documents among them."""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import yaml
from dotenv.parser import parse_stream

from app.changes.models import ENTRIES_MAX, KEY_RULE, Content, Kind, is_key
from app.errors import Invalid, Violation, invalid, malformed
from app.http.decoder import INTEGER_MAX, check_nodes, check_value_size, parse

FILE_BYTES_MAX = 64 * 1024 * 1024
NODES_MAX = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Document:
    """The entries of a file, by key, and what in it was left aside."""

    entries: Mapping[str, Content]
    warnings: tuple[str, ...] = ()


def read_document(path: Path) -> Document:
    """Read a file by its ending. Raises Malformed or Invalid that names the key and the rule."""
    reader = _READERS.get(path.suffix.lower()) or _READERS.get(path.name)
    if reader is None:
        raise invalid("file", "must end in .json, .yaml, .yml or .env")
    raw = path.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        raise invalid("file", f"must not be larger than {FILE_BYTES_MAX} bytes")
    document = reader(raw)
    violations = [Violation(key, KEY_RULE) for key in document.entries if not is_key(key)]
    if violations:
        raise Invalid("key_invalid", f"{violations[0].field!r}: {KEY_RULE}", violations)
    if len(document.entries) > ENTRIES_MAX:
        raise invalid("file", f"must not have more than {ENTRIES_MAX} entries")
    for key, content in document.entries.items():
        check_value_size(content.value, key)
    return document


def _from_json(raw: bytes) -> Document:
    return _from_tree(parse(raw.removeprefix(BOM_UTF8), nodes_max=NODES_MAX))


def _from_yaml(raw: bytes) -> Document:
    try:
        tree = yaml.load(_text(raw), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise malformed("file", f"must be YAML; {error.problem}{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, OverflowError):
        raise malformed("file", "must be YAML") from None
    check_nodes(tree, nodes_max=NODES_MAX, root="file")
    return _from_tree(tree)


def _from_env(raw: bytes) -> Document:
    # interpolate=False: a $ in a value is part of the value.
    values: dict[str, str | None] = {}
    for binding in parse_stream(StringIO(_text(raw))):
        if binding.error:
            raise malformed("file", f"cannot be read at line {binding.original.line}")
        if binding.key is None:
            continue
        if binding.key in values:
            raise malformed("file", f"must not repeat a name; line {binding.original.line}")
        values[binding.key] = binding.value
    check_nodes(values, nodes_max=NODES_MAX, root="file")
    bare = tuple(
        f"{name} has no = sign and was left out" for name, value in values.items() if value is None
    )
    entries = {
        name: Content(kind=Kind.SETTING, value=value)
        for name, value in values.items()
        if value is not None
    }
    return Document(entries=entries, warnings=bare)


def _from_tree(tree: Any) -> Document:
    if not isinstance(tree, dict):
        raise malformed("file", "must be an object of keys and values")
    if isinstance(tree.get("flags"), dict):
        return _from_flagd(tree)
    return Document(
        entries={key: Content(kind=Kind.SETTING, value=value) for key, value in tree.items()}
    )


def _from_flagd(tree: dict[str, Any]) -> Document:
    """Read flagd's document: `flags` become flags, `$evaluators` segments."""
    evaluators = tree.get("$evaluators", {})
    if not isinstance(evaluators, dict):
        raise malformed("$evaluators", "must be an object")
    if both := sorted(tree["flags"].keys() & evaluators.keys()):
        raise invalid(both[0], "must not be the name of a flag and of an evaluator")
    flags = {key: Content(kind=Kind.FLAG, value=value) for key, value in tree["flags"].items()}
    segments = {key: Content(kind=Kind.SEGMENT, value=value) for key, value in evaluators.items()}
    aside = sorted(tree.keys() - {"flags", "$evaluators", "$schema"})
    return Document(
        entries=flags | segments,
        warnings=tuple(f"{name} of the document was left aside" for name in aside),
    )


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise malformed("file", "must be UTF-8") from None


class _StrictLoader(yaml.SafeLoader):
    """YAML that JSON can say: names are texts and not repeated, dates are texts."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    own = sum(key.tag != "tag:yaml.org,2002:merge" for key, _ in node.value)
    loader.flatten_mapping(node)  # puts what is merged before what is the node's own
    members: dict[str, Any] = {}
    seen: set[str] = set()
    for position, (key_node, value_node) in enumerate(node.value, start=own - len(node.value)):
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                problem="a name must be a text; quote it", problem_mark=key_node.start_mark
            )
        if position >= 0 and key in seen:
            raise yaml.constructor.ConstructorError(
                problem="a name is repeated", problem_mark=key_node.start_mark
            )
        if position >= 0:
            seen.add(key)
        members[key] = loader.construct_object(value_node, deep=True)
    return members


def _as_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    number = loader.construct_yaml_float(node)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
        raise yaml.constructor.ConstructorError(
            problem="a number must be finite", problem_mark=node.start_mark
        )
    return float(number)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    # The length first: int() raises for more than 4300 digits.
    number = loader.construct_yaml_int(node) if len(node.value) < 100 else INTEGER_MAX + 1
    if abs(number) > INTEGER_MAX:
        raise yaml.constructor.ConstructorError(
            problem="an integer must not be beyond 2^53; quote it", problem_mark=node.start_mark
        )
    return number


def _no_json(_: yaml.SafeLoader, node: yaml.Node) -> NoReturn:
    raise yaml.constructor.ConstructorError(
        problem="a type that JSON does not have", problem_mark=node.start_mark
    )


for _tag in ("binary", "set", "omap", "pairs"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _no_json)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)

_READERS: dict[str, Callable[[bytes], Document]] = {
    ".json": _from_json,
    ".yaml": _from_yaml,
    ".yml": _from_yaml,
    ".env": _from_env,
}
