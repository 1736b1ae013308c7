"""What can go wrong, by meaning. No status codes here: `http/problems.py` maps each class to one.

AppError
├── Malformed           the request cannot be understood
├── Invalid             it is understood, and a field breaks a rule
├── Unauthenticated     no token, or not one of ours
├── Forbidden           a token without the scope or the environment
├── NotFound
├── Conflict            the state of the entry forbids it
├── Stale               the version has moved on
├── ConditionMissing    the write does not say which version it expects
├── TooLarge
├── Unsupported         a content type or an encoding that is not spoken here
├── TooSlow             the client took too long to send its body
├── Unimplemented       a transfer encoding that is not spoken here
└── RetryLater
    ├── LimitExceeded   too many failed attempts from there
    └── Unavailable     pool exhausted, database away, not started yet
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One broken rule. Neither part ever repeats the value that broke it."""

    field: str
    rule: str


class ForeseenError(Exception):
    """What is nobody's bug; the text is for whoever runs the service, and holds no secret."""


class AppError(ForeseenError):
    """An error whose code and message may leave the process."""

    def __init__(self, code: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.violations = tuple(violations)


class Malformed(AppError): ...


class Invalid(AppError): ...


class Unauthenticated(AppError):
    """`reason` is for the access log alone: whoever is refused learns the same each time."""

    def __init__(self, code: str, message: str, *, reason: str) -> None:
        super().__init__(code, message)
        self.reason = reason


class Forbidden(AppError): ...


class NotFound(AppError): ...


class Conflict(AppError): ...


class Stale(AppError):
    """`version` is the current one in this epoch, None when there is no such entry."""

    def __init__(
        self,
        message: str,
        *,
        version: int | None,
        epoch: str,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__("version_stale", message, violations)
        self.version = version
        self.epoch = epoch


class ConditionMissing(AppError): ...


class TooLarge(AppError): ...


class Unsupported(AppError): ...


class TooSlow(AppError): ...


class Unimplemented(AppError): ...


class RetryLater(AppError):
    """`retry_after_seconds` is what the `Retry-After` header will say."""

    def __init__(self, code: str, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(code, message)
        self.retry_after_seconds = retry_after_seconds


class LimitExceeded(RetryLater): ...


class Unavailable(RetryLater): ...


def reason(error: OSError) -> str:
    """Return why the operating system refused, in words: "permission denied"."""
    words = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else None)
    return (words or str(error) or "unknown reason").lower()


def invalid(field: str, rule: str) -> Invalid:
    """Return the error for one field that breaks one rule."""
    return Invalid("field_invalid", f"{field}: {rule}", [Violation(field, rule)])


def malformed(field: str, rule: str) -> Malformed:
    """Return the error for one part of a request that cannot be read."""
    return Malformed("request_malformed", f"{field}: {rule}", [Violation(field, rule)])
