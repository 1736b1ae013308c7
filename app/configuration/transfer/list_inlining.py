"""Replace `in_list` by `in` for flagd's evaluators, which know no lists.

A list of up to 10,000 values becomes a literal list; its values that expire are compared with the
clock. A flag that uses another list is left out.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from app.configuration.changes.models import Content, Kind
from app.configuration.changes.references import names_in
from app.evaluation.lists import INLINED_MAX, list_reference, loaded_list, names_list
from app.evaluation.targeting import IN_LIST

# The limits of a document: characters of inlined values, and expiries of a list.
_CHARACTERS_MAX = 8 * 1024 * 1024
_INSTANTS_MAX = 100
# The members of a flag that have rules.
_RULES = ("targeting", "plan")
_TIMESTAMP = {"var": "$flagd.timestamp"}


class Inlined(NamedTuple):
    """Entries without lists, and why flags were left out, by key."""

    entries: Mapping[str, Content]
    left_out: dict[str, str]


class _NotInlinableError(Exception):
    """The text is the reason."""


def inlined(entries: Mapping[str, Content], *, only_names: bool = False) -> Inlined:
    """Return the entries for flagd's evaluators. The values of lists are those in memory.

    With `only_names` the caller needs what is left out, and no list must be in memory.
    """
    lists = {
        key: content.value
        for key, content in entries.items()
        if content.kind is Kind.SEGMENT and names_list(content.value)
    }
    if not lists:
        return Inlined(entries, {})
    inliner = _Inliner(lists, only_names=only_names)
    written: dict[str, Content] = {}
    left_out: dict[str, str] = {}
    # Segments first: a flag that uses one that cannot be written is left out, too.
    ordered = sorted(entries.items(), key=lambda item: item[1].kind is not Kind.SEGMENT)
    for key, content in ordered:
        if key in lists:
            continue
        try:
            written[key] = replace(content, value=inliner.content(content))
        except _NotInlinableError as error:
            left_out[key] = str(error)
    lost = set(left_out)
    while lost:
        users = {
            key for key, content in written.items() if not lost.isdisjoint(names_in(content.value))
        }
        left_out |= dict.fromkeys(users, "uses a segment with a list that is too large")
        for key in users:
            del written[key]
        lost = users
    return Inlined({key: written[key] for key in entries if key in written}, left_out)


class _Inliner:
    def __init__(self, lists: Mapping[str, Any], *, only_names: bool) -> None:
        self._lists = lists
        self._only_names = only_names
        self._characters_left = _CHARACTERS_MAX

    def content(self, content: Content) -> Any:
        if content.kind is Kind.FLAG and isinstance(content.value, dict):
            return {
                name: self.rule(part) if name in _RULES else part
                for name, part in content.value.items()
            }
        return self.rule(content.value) if content.kind is Kind.SEGMENT else content.value

    def rule(self, node: Any) -> Any:
        """Return a part of a rule without `in_list`. Raises _NotInlinableError."""
        if isinstance(node, list):
            return [self.rule(part) if type(part) in (dict, list) else part for part in node]
        if not isinstance(node, dict):
            return node
        operands = node.get(IN_LIST)
        if len(node) == 1 and isinstance(operands, list) and len(operands) == 2:
            return self._test(operands[0], self.rule(operands[1]))
        return {name: self.rule(part) for name, part in node.items()}

    def _test(self, key: Any, needle: Any) -> Any:
        reference = list_reference(self._lists.get(key)) if isinstance(key, str) else None
        if self._only_names and reference is not None and reference.count <= INLINED_MAX:
            return True
        list_ = loaded_list(reference.digest) if reference is not None else None
        if reference is None or list_ is None or not list_.is_exact:
            too_large = reference is not None and reference.count > INLINED_MAX
            reason = f"has more than {INLINED_MAX:,} values" if too_large else "is not in memory"
            raise _NotInlinableError(f"the list {key} {reason}")
        texts = list_.texts()
        if len(texts) > _INSTANTS_MAX:
            raise _NotInlinableError(f"the list {key} has more than {_INSTANTS_MAX} expiries")
        self._characters_left -= sum(len(text) for part in texts.values() for text in part)
        if self._characters_left < 0:
            raise _NotInlinableError("the lists of the document are too large together")
        tests = [
            _until(until, {"in": [needle, list(part)]})
            for until, part in sorted(texts.items(), key=lambda item: item[0] or 0)
        ]
        return tests[0] if len(tests) == 1 else {"or": tests or [{"in": [needle, []]}]}


def _until(until: int | None, test: Any) -> Any:
    return test if until is None else {"and": [{"<": [_TIMESTAMP, until]}, test]}
