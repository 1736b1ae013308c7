"""The options and variables that name a server: then a command calls it instead of the database.

Each command accepts the options, also before its name: `python -m app --url URL flag list local`.
Commands that need the database or the host refuse them.
"""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from typer.main import get_command

from app.cli.terminal import error_console
from app.errors import invalid, reason

_GIVEN = "flagstone.server"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TOKEN_BYTES_MAX = 4_096
URL_VARIABLE = "FLAGSTONE_URL"
TOKEN_VARIABLE = "FLAGSTONE_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server by its URL, without a slash at the end, and the token to call it with."""

    url: str
    token: str = field(repr=False)


def _options(
    url: Annotated[
        str | None,
        typer.Option(help="Call the server at this URL. Default: FLAGSTONE_URL.", metavar="URL"),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token for it. Default: FLAGSTONE_TOKEN_FILE."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="The token itself. Default: FLAGSTONE_TOKEN. Other accounts of this machine can "
            "read the arguments of a process.",
            metavar="TOKEN",
        ),
    ] = None,
) -> None: ...


def _remember(context: Any, parameter: Any, value: Any) -> None:
    if value is not None:
        context.meta.setdefault(_GIVEN, {})[parameter.name] = value


# The options of the running command, by name.
_given: ContextVar[Mapping[str, Any]] = ContextVar("given", default=MappingProxyType({}))


def _parameters() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_options)
    parameters = get_command(app).params
    for parameter in parameters:
        parameter.expose_value = False
        parameter.callback = _remember
    return parameters


SERVER_OPTIONS = _parameters()


def begin_command(context: typer.Context, *, is_remote: bool) -> None:
    """Store which server the command was given, for `chosen_server`.

    Raises BadParameter if a command that works without a server was given one.
    """
    given = context.meta.get(_GIVEN, {})
    for name in () if is_remote else given:
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"{context.command_path} cannot run on a server: omit {option}")
    _given.set(given)


def warn_of_variable(command: str) -> None:
    """Say that a command works on a database, when a variable names a server."""
    if os.environ.get(URL_VARIABLE):
        error_console.print(f"{URL_VARIABLE} is not used: {command} works on the database")


def chosen_server() -> Server | None:
    """Return the server that the options or the environment name, or None for the database.

    Raises Invalid for a URL or a token that cannot be used.
    """
    given = _given.get()
    name = "--url" if "url" in given else URL_VARIABLE
    url = given.get("url", os.environ.get(URL_VARIABLE))
    if url:
        return Server(url=_checked_url(url, name), token=_token(given))
    if given:
        raise invalid("--url", f"must be given with a token, or {URL_VARIABLE} set")
    return None


def _checked_url(url: str, name: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise invalid(name, "must be a URL, for example https://flags.example.org") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise invalid(name, "must begin with https:// or http://, and have a host")
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
        raise invalid(name, "must have no user name, no query and no fragment")
    if parts.scheme == "http" and host not in _LOOPBACK:
        error_console.print(f"warning: {name} begins with http://, so the token is not encrypted")
    return url.rstrip("/")


def _token(given: Mapping[str, Any]) -> str:
    """Return the token of the options, else that of the environment. Raises Invalid."""
    name, text, file = "--token-file", given.get("token"), given.get("token_file")
    if text is not None:
        error_console.print(
            "warning: other accounts can read --token. Use --token-file or FLAGSTONE_TOKEN."
        )
    if text is None and file is None:
        name = f"{TOKEN_VARIABLE}_FILE"
        text, file = os.environ.get(TOKEN_VARIABLE), os.environ.get(name)
    if text and file:
        raise invalid(name, "must not be given together with the token itself")
    if file:
        text = _read_token(Path(file), name)
    if not text:
        raise invalid("--token-file", f"must be given, or {TOKEN_VARIABLE} set")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise invalid(TOKEN_VARIABLE, "must be a token, without spaces and line breaks")
    return str(text)


def _read_token(file: Path, name: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_TOKEN_BYTES_MAX).decode(errors="replace").strip()
    except OSError as error:
        raise invalid(name, f"cannot be read: {reason(error)}") from None
