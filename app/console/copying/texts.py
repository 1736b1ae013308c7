"""A write as texts for a terminal: a curl command for the API, and a command of `python -m app`."""

import json
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from app.configuration.changes.requests import (
    DeleteOperation,
    PatchOperation,
    PutOperation,
)
from app.program import PROGRAM

WriteOperation = PutOperation | DeleteOperation | PatchOperation
PLACEHOLDER = "REPLACE-THIS-SECRET"
SECRET_FILE = "secret.json"  # noqa: S105 - the name of a file
# A command line may have 128 KiB for each argument, and a person reads neither.
_BYTES_MAX = 32 * 1024
_PROGRAM = f"{PROGRAM} configuration"


class CopyTexts(NamedTuple):
    """The texts, for a POSIX shell. `has_secret`: a placeholder stands for the secret."""

    curl: str
    command: str
    has_secret: bool


def copy_texts(
    origin: str, environment: str, operations: Sequence[WriteOperation], message: str
) -> CopyTexts | None:
    """Return the texts of a write to the service at this origin, or None if it is too large."""
    masked = [_masked(operation) for operation in operations]
    # The exact body has no nulls of optional members. It takes up to 1 s for 2 MiB.
    if len(msgspec.json.encode(masked)) > 2 * _BYTES_MAX:
        return None
    why = {"message": message} if message else {}
    body = _json({**why, "operations": [_members(operation) for operation in masked]})
    if len(body) > _BYTES_MAX:
        return None
    path = f"{origin}/v1/environments/{environment}/changes"
    curl = (
        f"curl --fail-with-body {shlex.quote(path)} \\\n"
        '  --header "Authorization: Bearer $FLAGSTONE_TOKEN" \\\n'
        "  --header 'Content-Type: application/json' \\\n"
        f"  --data {shlex.quote(body)}"
    )
    has_secret = any(_is_secret(operation) for operation in masked)
    return CopyTexts(curl, _command(environment, masked, message, body), has_secret)


def _members(operation: WriteOperation) -> dict[str, Any]:
    """Return the members, without those whose default is null."""
    members: dict[str, Any] = msgspec.to_builtins(operation)
    optional = {"schema", "description", "environment"}
    return {n: value for n, value in members.items() if value is not None or n not in optional}


def _command(
    environment: str, operations: Sequence[WriteOperation], message: str, body: str
) -> str:
    """Return the command for one entry, or for several `apply` with the change set as its input."""
    match operations:
        case [DeleteOperation(key=key, version=version, environment=None)]:
            words = ["delete", environment, key, "--version", str(version)]
            return f"{_PROGRAM} {shlex.join([*words, *_why(message)])}"
        case [PutOperation() as put] if put.environment is None and _is_whole(put):
            value = "-" if _is_secret(put) else _json(put.value)
            words = ["set", "--version", str(put.version)]
            words += ["--kind", put.kind] * (put.version == 0)
            if put.version > 0 or put.description:
                words += ["--description", put.description or ""]
            # A negative number is no option.
            words += [*_why(message), *["--"] * (len(value) > 1 and value.startswith("-"))]
            source = f" < {SECRET_FILE}" if _is_secret(put) else ""
            return f"{_PROGRAM} {shlex.join([*words, environment, put.key, value])}{source}"
        case _:
            return f"{_PROGRAM} {shlex.join(['apply', environment, '-'])} <<'END'\n{body}\nEND"


def _is_whole(put: PutOperation) -> bool:
    """Return whether `set` writes the whole entry: it keeps a schema that is stored."""
    return put.schema is None and (put.version == 0 or put.kind in {"flag", "segment"})


def _is_secret(operation: WriteOperation) -> bool:
    return isinstance(operation, PutOperation) and operation.kind == "secret"


def _masked(operation: WriteOperation) -> WriteOperation:
    if _is_secret(operation):
        return msgspec.structs.replace(operation, value=PLACEHOLDER)
    return operation


def _why(message: str) -> list[str]:
    return ["--message", message] if message else []


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
