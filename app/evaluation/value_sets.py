"""The plain values of a list as sets, for constant-time membership tests.

Flags that use the same segment share the sets of its lists. Otherwise thousands of flags would each
have their own copy of a list of thousands of values.
"""

from typing import Any
from weakref import WeakValueDictionary

from app.evaluation.values import double, is_number

# The sets of a shorter list are not worth an entry in the cache.
_SHARED_MIN = 64


class ValueSet:
    """The values of a list by type, as `===` compares them: numbers are doubles."""

    __slots__ = ("__weakref__", "_values", "constants", "numbers", "texts")

    def __init__(self, values: list[Any]) -> None:
        # This reference keeps the id of the list unique while these sets are in the cache.
        self._values = values
        self.texts = frozenset(value for value in values if type(value) is str)
        self.numbers = frozenset(double(value) for value in values if is_number(value))
        self.constants = frozenset(v for v in values if v is None or type(v) is bool)

    @property
    def are_texts(self) -> bool:
        return not self.numbers and not self.constants

    def has(self, value: Any) -> bool:
        if type(value) is str:
            return value in self.texts
        if value is None or type(value) is bool:
            return value in self.constants
        return is_number(value) and double(value) in self.numbers


_shared: WeakValueDictionary[int, ValueSet] = WeakValueDictionary()


def value_set_of(values: Any) -> ValueSet | None:
    """Return the sets of a literal list; None for a list that contains rules or lists, and for
    any other value.
    """
    if not isinstance(values, list):
        return None
    members = _shared.get(id(values))
    if members is not None:
        return members
    if any(isinstance(value, dict | list) for value in values):
        return None
    members = ValueSet(values)
    if len(values) >= _SHARED_MIN:
        _shared[id(values)] = members
    return members
