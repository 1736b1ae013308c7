"""Load YAML 1.2 (core schema) with the limits of JSON: names are unique strings, sizes are bounded.

libyaml's composer recurses in C, so a deep document would crash the process. Merges multiply what
they merge. So the depth is checked before composing, and merged members are counted.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from app.configuration.transfer.documents import DOCUMENT_DEPTH_MAX, NODES_MAX
from app.configuration.transfer.yaml_schema import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    TYPES,
    anchored,
    difference,
)
from app.errors import AppError, malformed
from app.http.decoder import INTEGER_MAX, parse
from app.http.stepwise import Stream
from app.names import counted

_WARNINGS_MAX = 100

_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str, *, nodes_max: int = NODES_MAX) -> tuple[Any, list[str]]:
    """Return the document, and a warning where YAML 1.1 would differ. Raises Malformed."""
    if text.lstrip()[:1] == "{":
        try:
            # JSON is YAML, but libyaml cannot read all of it, for example escaped surrogates.
            return parse(text.encode(), nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX), []
        except AppError:
            # The text may be a YAML flow mapping. The code below applies the rules of JSON too.
            pass
    try:
        warnings: list[str] = []
        omitted = 0
        for warning in _check_events(text, nodes_max):
            if len(warnings) < _WARNINGS_MAX:
                warnings.append(warning)
            else:
                omitted += 1
        if omitted:
            warnings.append(f"{counted(omitted, 'more value')} read differently by YAML 1.1")
        return yaml.load(Stream(text), Loader=_StrictLoader), warnings  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise malformed("file", f"must be YAML; {error.problem}{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, OverflowError):
        raise malformed("file", "must be YAML") from None


def _check_events(text: str, nodes_max: int) -> Iterator[str]:
    """Check size and depth. Yield a warning for each scalar that YAML 1.1 reads differently."""
    depth = 0
    for count, event in enumerate(yaml.parse(Stream(text), Loader=yaml.CSafeLoader)):
        # Names and ends of collections are counted too.
        if count > 3 * nodes_max:
            raise malformed("file", f"must not have more than {nodes_max} values")
        if isinstance(event, yaml.ScalarEvent):
            # True for a plain scalar without a tag.
            if event.implicit[0] and (reason := difference(event.value)):
                line = event.start_mark.line + 1 if event.start_mark else 0
                yield f"line {line}: {reason}; quote it or write it differently"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            # Merges add levels that the result does not have. JSON's exact limit is checked later.
            if depth > 2 * DOCUMENT_DEPTH_MAX:
                raise malformed("file", f"must not nest deeper than {DOCUMENT_DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _StrictLoader(yaml.CSafeLoader):
    """libyaml's parser with constructors for the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as in PyYAML

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._merged = 0

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        try:
            return self.construct_document(node)
        finally:
            self.constructed_objects: dict[yaml.Node, Any] = {}
            _free_nodes(node)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged members before those of the node."""
        if not any(key.tag == _MERGE for key, _ in node.value):
            return
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > NODES_MAX:
            raise _yaml_error(node, "merges add too many values")


def _free_nodes(root: yaml.Node) -> None:
    """Free the nodes one by one. Freeing all at once would block all threads for 150 ms."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.CollectionNode):
            node.value = []


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _yaml_error(node, "must be a mapping, as its tag says")
    unmerged_count = sum(key.tag != _MERGE for key, _ in node.value)
    loader.flatten_mapping(node)
    members: dict[str, Any] = {}
    seen: set[str] = set()
    # Merged members come first, at negative positions. The mapping's own members replace them.
    first = unmerged_count - len(node.value)
    for position, (key_node, value_node) in enumerate(node.value, start=first):
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _yaml_error(key_node, "a name must be a string; quote it")
        if position >= 0 and key in seen:
            raise _yaml_error(key_node, "a name is repeated")
        if position >= 0:
            seen.add(key)
        members[key] = loader.construct_object(value_node, deep=True)
    return members


def _string(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _number(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    text = _string(loader, node)
    if not FLOAT.fullmatch(text):
        raise _yaml_error(node, "a number must be one of YAML 1.2")
    number = math.inf if text[-1] in "fFnN" else float(text)
    # A tiny number would become zero.
    is_underflow = number == 0 and any(digit in "123456789" for digit in text.lower().split("e")[0])
    if is_underflow or math.isinf(number):
        raise _yaml_error(node, "a number must be finite and in the range of a double")
    return number


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    text = _string(loader, node)
    if not INTEGER.fullmatch(text):
        raise _yaml_error(node, "an integer must be one of YAML 1.2")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    # int() raises for more than 4,300 digits.
    number = int(text, base) if len(text) < 100 else INTEGER_MAX + 1
    if abs(number) > INTEGER_MAX:
        raise _yaml_error(node, "an integer must not be beyond 2^53; quote it")
    return number


def _boolean(loader: _StrictLoader, node: yaml.ScalarNode) -> bool:
    text = _string(loader, node)
    if not BOOLEAN.fullmatch(text):
        raise _yaml_error(node, "a boolean must be true or false")
    return text.lower() == "true"


def _reject_type(_: _StrictLoader, node: yaml.Node) -> NoReturn:
    raise _yaml_error(node, "the type does not exist in JSON")


def _yaml_error(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


for _tag in ("binary", "set", "omap", "pairs"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _reject_type)
# Any other tag. The error of the library would repeat the tag, which can be an unquoted password.
_StrictLoader.add_constructor(None, _reject_type)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _boolean)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _string)
_StrictLoader.add_constructor(_MERGE, _string)
for _tag, _pattern in TYPES:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", anchored(_pattern), None)
# YAML 1.2 has no merges, but most readers support them.
_StrictLoader.add_implicit_resolver(_MERGE, anchored(re.compile("<<")), None)
