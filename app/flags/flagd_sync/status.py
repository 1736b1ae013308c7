"""The status codes that gRPC and Connect share, by the class of an error."""

from enum import StrEnum

from app import errors


class Code(StrEnum):
    """The codes as Connect writes them. gRPC has the same names in upper case."""

    INVALID_ARGUMENT = "invalid_argument"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    UNAUTHENTICATED = "unauthenticated"


_CODES: dict[type[errors.AppError], Code] = {
    errors.Malformed: Code.INVALID_ARGUMENT,
    errors.Invalid: Code.INVALID_ARGUMENT,
    errors.Unsupported: Code.INVALID_ARGUMENT,
    errors.Unauthenticated: Code.UNAUTHENTICATED,
    errors.Forbidden: Code.PERMISSION_DENIED,
    errors.NotFound: Code.NOT_FOUND,
    errors.TooLarge: Code.RESOURCE_EXHAUSTED,
    errors.LimitExceeded: Code.RESOURCE_EXHAUSTED,
    errors.TooSlow: Code.DEADLINE_EXCEEDED,
    errors.Unimplemented: Code.UNIMPLEMENTED,
    errors.Unavailable: Code.UNAVAILABLE,
}


def code_of(error: errors.AppError) -> Code:
    return _CODES.get(type(error), Code.INTERNAL)
