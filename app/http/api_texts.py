"""The texts and examples of the OpenAPI document, read from a folder of data files.

`introduction.md` opens the document, `properties.json` describes schemas and their properties, and
`errors.json` has an example of each error. The other files have one tag each, in the order of
their names, with examples of its operations in the order of the document.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request and its answer. A test sends the request and compares the answer.

    `type` is the media type of the answer, if the operation has several.
    `shows_part`: the real answer has more properties, items or lines.
    `after`: the operations whose first examples are sent before this one. "OPERATION: TITLE" names
    another example.
    `then`: the operations whose first examples are sent while the answer is a stream.
    """

    operation: str
    title: str = ""
    path: dict[str, str] = {}
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: Any = None
    status: int = 200
    type: str = ""
    answer: Any
    shows_part: bool = False
    after: list[str] = []
    then: list[str] = []


class Tag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    description: str
    examples: list[Example]


class ApiTexts:
    """The content of a folder of texts and examples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.introduction = (folder / "introduction.md").read_text(encoding="utf-8")
        self.properties = self._read("properties.json", dict[str, str])
        self.errors = {
            example.status: example for example in self._read("errors.json", list[Example])
        }
        names = sorted(path.name for path in folder.glob("[0-9]*.json"))
        self.tags = [self._read(name, Tag) for name in names]
        self.examples = [example for tag in self.tags for example in tag.examples]
        self.tag_of = {e.operation: tag.name for tag in self.tags for e in tag.examples}

    def in_order(self, operations: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
        """Yield the operations in the order of their examples. Raises LookupError without one."""
        for wrong in operations.keys() - self.tag_of.keys():
            raise LookupError(f"{self.folder}: add an example of {wrong} to the file of its tag")
        for wrong in self.tag_of.keys() - operations.keys():
            raise LookupError(f"{self.folder}: no route has the operation ID {wrong}")
        yield from ((operation_id, operations[operation_id]) for operation_id in self.tag_of)

    def _read(self, name: str, type_: type[Value]) -> Value:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=type_)
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.folder / name}: {error}") from None
