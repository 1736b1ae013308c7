"""YAML 1.2 that JSON can say: the core schema, names are texts and not repeated, all is bounded.

libyaml's own composer recurses in C, so a document that nests deeply enough would end the process;
and merges double what they merge. So the depth is known before anything is composed, and what
merges bring in is counted.
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
    """Return the document as Python values, and warnings of what YAML 1.1 takes differently.

    Raises Malformed that names line and rule.
    """
    if text.lstrip()[:1] == "{":
        try:
            # JSON is YAML, although libyaml cannot read all of it: escaped surrogates, for one.
            return parse(text.encode(), nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX), []
        except AppError:
            # It may be a flow mapping. What breaks a rule of JSON breaks it here as well.
            pass
    try:
        warnings: list[str] = []
        more = 0
        for warning in _checked(text, nodes_max):
            if len(warnings) < _WARNINGS_MAX:
                warnings.append(warning)
            else:
                more += 1
        if more:
            warnings.append(f"{counted(more, 'more value')} read otherwise by readers of YAML 1.1")
        return yaml.load(Stream(text), Loader=_StrictLoader), warnings  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise malformed("file", f"must be YAML; {error.problem}{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, OverflowError):
        raise malformed("file", "must be YAML") from None


def _checked(text: str, nodes_max: int) -> Iterator[str]:
    """Check size and depth, and yield a warning for each scalar that YAML 1.1 takes differently."""
    depth = 0
    for count, event in enumerate(yaml.parse(Stream(text), Loader=yaml.CSafeLoader)):
        # Names are counted here too, and the ends of what began.
        if count > 3 * nodes_max:
            raise malformed("file", f"must not have more than {nodes_max} values")
        if isinstance(event, yaml.ScalarEvent):
            # The first is true for a scalar that is plain and has no tag.
            if event.implicit[0] and (found := difference(event.value)):
                line = event.start_mark.line + 1 if event.start_mark else 0
                yield f"line {line}: {found}; quote it, or write it otherwise"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            # The exact limit is that of JSON, once merges have taken their levels away.
            if depth > 2 * DOCUMENT_DEPTH_MAX:
                raise malformed("file", f"must not nest deeper than {DOCUMENT_DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _StrictLoader(yaml.CSafeLoader):
    """libyaml's parser with our constructors, and types by the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's is of the class too

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
            _take_apart(node)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged before what is the node's own."""
        if not any(key.tag == _MERGE for key, _ in node.value):
            return
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > NODES_MAX:
            raise _wrong(node, "merges bring in too much")


def _take_apart(root: yaml.Node) -> None:
    """Free the nodes one by one: all in one go would hold the interpreter for 150 ms."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.CollectionNode):
            node.value = []


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, "has the tag of a mapping and is none")
    own = sum(key.tag != _MERGE for key, _ in node.value)
    loader.flatten_mapping(node)
    members: dict[str, Any] = {}
    seen: set[str] = set()
    for position, (key_node, value_node) in enumerate(node.value, start=own - len(node.value)):
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _wrong(key_node, "a name must be a string; quote it")
        if position >= 0 and key in seen:
            raise _wrong(key_node, "a name is repeated")
        if position >= 0:
            seen.add(key)
        members[key] = loader.construct_object(value_node, deep=True)
    return members


def _as_text(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _number(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    text = _as_text(loader, node)
    if not FLOAT.fullmatch(text):
        raise _wrong(node, "a number must be one of YAML 1.2")
    number = math.inf if text[-1] in "fFnN" else float(text)
    # A tiny number would come back as zero.
    vanished = number == 0 and any(digit in "123456789" for digit in text.lower().split("e")[0])
    if vanished or math.isinf(number):
        raise _wrong(node, "a number must be finite and in the range of a double")
    return number


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    text = _as_text(loader, node)
    if not INTEGER.fullmatch(text):
        raise _wrong(node, "an integer must be one of YAML 1.2")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    # The length first: int() raises for more than 4300 digits.
    number = int(text, base) if len(text) < 100 else INTEGER_MAX + 1
    if abs(number) > INTEGER_MAX:
        raise _wrong(node, "an integer must not be beyond 2^53; quote it")
    return number


def _boolean(loader: _StrictLoader, node: yaml.ScalarNode) -> bool:
    text = _as_text(loader, node)
    if not BOOLEAN.fullmatch(text):
        raise _wrong(node, "a boolean must be true or false")
    return text.lower() == "true"


def _no_json(_: _StrictLoader, node: yaml.Node) -> NoReturn:
    raise _wrong(node, "a type that JSON does not have")


def _wrong(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


for _tag in ("binary", "set", "omap", "pairs"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _no_json)
# Any other tag. The library's own text has it, which may be a password that begins with a ! and
# was not quoted.
_StrictLoader.add_constructor(None, _no_json)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _boolean)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)
_StrictLoader.add_constructor(_MERGE, _as_text)
for _tag, _pattern in TYPES:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", anchored(_pattern), None)
# YAML 1.2 has no merges, and yet most of its readers know them.
_StrictLoader.add_implicit_resolver(_MERGE, anchored(re.compile("<<")), None)
