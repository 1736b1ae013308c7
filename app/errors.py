"""Errors by meaning. `http/problems.py` maps each class to a status code.

AppError
├── Malformed           the request cannot be parsed
├── Invalid             a field of the request breaks a rule
├── Unauthenticated     no token, or no valid one
├── Forbidden           the token lacks the scope or the environment
├── NotFound
├── Conflict            the state of the entry forbids the change
│   └── ApprovalRequired  the environment is protected
├── Stale               the expected version is not the current one
├── ConditionMissing    the write names no expected version
├── TooLarge
├── Unsupported         the content type or the encoding is not supported
├── TooSlow             the client took too long to send its body
├── Unimplemented       the transfer encoding is not supported
├── Misdirected         this is a relay, and its upstream must be asked
└── RetryLater
    ├── LimitExceeded   too many failed attempts by this client
    └── Unavailable     the pool is exhausted, the database is away, or the start is not finished
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Violation:
    """A broken rule. Neither field may repeat the value."""

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class ForeseenError(Exception):
    """An error that is not a bug. Its text is for the operator and holds no secret."""


class AppError(ForeseenError):
    """An error whose code and message may be sent to clients."""

    def __init__(self, code: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.violations = tuple(violations)

    @classmethod
    def of(cls, code: str, violations: Sequence[Violation]) -> Self:
        """Return the error for these violations. Its message names the first one."""
        return cls(code, str(violations[0]), violations)


class Malformed(AppError): ...


class Invalid(AppError): ...


class Unauthenticated(AppError):
    """`reason` is for the access log alone: clients get the same message for every reason."""

    def __init__(self, code: str, message: str, *, reason: str) -> None:
        super().__init__(code, message)
        self.reason = reason


class Forbidden(AppError): ...


class NotFound(AppError): ...


class Conflict(AppError): ...


class ApprovalRequired(Conflict):
    """A write in a protected environment lacks approvals.

    `change_set` is what the write would make, with secrets: never log or show it. `proposal` is its
    JSON without them, None if that is too large.
    """

    def __init__(
        self, message: str, violations: Sequence[Violation], *, change_set: Any, proposal: Any
    ) -> None:
        super().__init__("approval_required", message, violations)
        self.change_set = change_set
        self.proposal = proposal


class Stale(AppError):
    """`version` is the current version in this epoch, or None if the entry does not exist."""

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


class Misdirected(AppError):
    """`upstream` is the URL that can do it."""

    def __init__(self, upstream: str) -> None:
        super().__init__(
            "relay_cannot",
            "This is a relay: it serves the current state. Send writes, and reads of the history, "
            "of usage, of tokens and of secrets, to its upstream.",
        )
        self.upstream = upstream


class RetryLater(AppError):
    """`retry_after_seconds` becomes the `Retry-After` header."""

    def __init__(self, code: str, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(code, message)
        self.retry_after_seconds = retry_after_seconds


class LimitExceeded(RetryLater): ...


class Unavailable(RetryLater): ...


def reason(error: OSError) -> str:
    """Return the reason of the operating system in words, such as "permission denied"."""
    if error.errno and (error.strerror or "").startswith("Connect call failed"):
        # The text of asyncio, with the address as Python writes it.
        return os.strerror(error.errno).lower()
    words = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else None)
    return (words or str(error) or "unknown reason").lower()


def invalid(field: str, rule: str) -> Invalid:
    """Return the error for a field that breaks a rule."""
    return Invalid.of("field_invalid", [Violation(field, rule)])


@contextmanager
def reported_as(field: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise Invalid with this field and the text of the error, which must hold no secret."""
    try:
        yield
    except errors as error:
        raise invalid(field, str(error)) from None


def malformed(field: str, rule: str) -> Malformed:
    """Return the error for a part of a request that cannot be parsed."""
    return Malformed.of("request_malformed", [Violation(field, rule)])


def as_sentence(violations: Sequence[Violation]) -> str:
    """Return violations whose fields are keys as one sentence."""
    return "; ".join(f"{violation.field} {violation.rule}" for violation in violations) + "."
