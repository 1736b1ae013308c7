"""The plain values of a list, as sets: whether a value is in them is answered at once.

Flags that use the same segment share the sets of its lists. Otherwise thousands of flags would each
keep their own copy of a list of thousands of values.
"""

from typing import Any
from weakref import WeakValueDictionary

from app.evaluation.values import double, is_number

# The sets of a shorter list are not worth an entry in the cache.
_SHARED_MIN = 64


class Members:
    """The values of a list by type, as `===` compares them: numbers are doubles."""

    __slots__ = ("__weakref__", "_values", "constants", "numbers", "texts")

    def __init__(self, values: list[Any]) -> None:
        # Keep the list, so that no other list gets its id while these sets are in the cache.
        self._values = values
        self.texts = frozenset(each for each in values if type(each) is str)
        self.numbers = frozenset(double(each) for each in values if is_number(each))
        self.constants = frozenset(each for each in values if each is None or type(each) is bool)

    @property
    def are_texts(self) -> bool:
        return not self.numbers and not self.constants

    def has(self, value: Any) -> bool:
        if type(value) is str:
            return value in self.texts
        if value is None or type(value) is bool:
            return value in self.constants
        return is_number(value) and double(value) in self.numbers


_shared: WeakValueDictionary[int, Members] = WeakValueDictionary()


def members_of(values: Any) -> Members | None:
    """Return the members of a list that never changes; None for a list with rules or lists in it,
    and for anything else.
    """
    if not isinstance(values, list):
        return None
    members = _shared.get(id(values))
    if members is not None:
        return members
    if any(isinstance(each, dict | list) for each in values):
        return None
    members = Members(values)
    if len(values) >= _SHARED_MIN:
        _shared[id(values)] = members
    return members
