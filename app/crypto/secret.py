"""The type `Secret`, whose value never appears in logs or error messages."""

import hmac
from typing import Any, NoReturn


class Secret:
    """A string that only `reveal` returns.

    str, repr and format give `Secret(…)`; encoders and pickle fail. Secrets with equal values are
    equal.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> "Secret":
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def _bytes(secret: Secret) -> bytes:
    # File names and command-line arguments may contain lone surrogates.
    return secret.reveal().encode("utf-8", "surrogatepass")
