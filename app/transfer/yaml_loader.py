"""YAML that JSON can say: names are texts and not repeated, dates and times are texts, and all is
bounded.

libyaml's own composer recurses in C, so a document that nests deeply enough would end the process;
and merges double what they merge. So the depth is known before anything is composed, and what
merges bring in is counted.
"""

from typing import Any, NoReturn

import yaml

from app.errors import malformed
from app.http.decoder import INTEGER_MAX
from app.transfer.documents import DOCUMENT_DEPTH_MAX, NODES_MAX

_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str, *, nodes_max: int = NODES_MAX) -> Any:
    """Return the document as Python values. Raises Malformed that names line and rule."""
    try:
        _check_size(text, nodes_max)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise malformed("file", f"must be YAML; {error.problem}{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, OverflowError):
        raise malformed("file", "must be YAML") from None


def _check_size(text: str, nodes_max: int) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        # Names are counted here too, and the ends of what began.
        if count > 3 * nodes_max:
            raise malformed("file", f"must not have more than {nodes_max} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            # The exact limit is that of JSON, once merges have taken their levels away.
            if depth > 2 * DOCUMENT_DEPTH_MAX:
                raise malformed("file", f"must not nest deeper than {DOCUMENT_DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _StrictLoader(yaml.CSafeLoader):
    """libyaml's parser with our constructors."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged before what is the node's own."""
        if not any(key.tag == _MERGE for key, _ in node.value):
            return
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > NODES_MAX:
            raise _wrong(node, "merges bring in too much")


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, "a mapping is told and none is there")
    own = sum(key.tag != _MERGE for key, _ in node.value)
    loader.flatten_mapping(node)
    members: dict[str, Any] = {}
    seen: set[str] = set()
    for position, (key_node, value_node) in enumerate(node.value, start=own - len(node.value)):
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _wrong(key_node, "a name must be a text; quote it")
        if position >= 0 and key in seen:
            raise _wrong(key_node, "a name is repeated")
        if position >= 0:
            seen.add(key)
        members[key] = loader.construct_object(value_node, deep=True)
    return members


def _as_text(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _number(loader: _StrictLoader, node: yaml.ScalarNode) -> float | str:
    if _is_other_notation(node.value):
        return _as_text(loader, node)
    number = loader.construct_yaml_float(node)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
        raise _wrong(node, "a number must be finite")
    return float(number)


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int | str:
    if _is_other_notation(node.value):
        return _as_text(loader, node)
    # The length first: int() raises for more than 4300 digits.
    number = loader.construct_yaml_int(node) if len(node.value) < 100 else INTEGER_MAX + 1
    if abs(number) > INTEGER_MAX:
        raise _wrong(node, "an integer must not be beyond 2^53; quote it")
    return number


def _is_other_notation(text: str) -> bool:
    """Tell whether only YAML 1.1 takes this for a number: 12:30 for 750, 010 for 8, 1_000."""
    digits = text.lstrip("+-")
    has_leading_zero = len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal()
    return ":" in text or "_" in text or has_leading_zero


def _no_json(_: _StrictLoader, node: yaml.Node) -> NoReturn:
    raise _wrong(node, "a type that JSON does not have")


def _wrong(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


for _tag in ("binary", "set", "omap", "pairs"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _no_json)
# Any other tag. The library's own text has it, which may be a password that begins with a ! and
# was not quoted.
_StrictLoader.add_constructor(None, _no_json)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)
