"""`seal`: keep secret settings as text that only the identities of chosen hosts open.

No verb takes a value as an argument, which every account of the machine could read.
"""

import getpass
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.crypto.identity import Identity, IdentityError, new_identity
from app.crypto.sealed import (
    TEXT_BYTES_MAX,
    OpenedSetting,
    SealedError,
    is_sealed,
    open_sealed,
    parse_recipient,
    seal,
)
from app.errors import Conflict, Forbidden, Invalid, invalid
from app.private_files import write_private
from app.settings import Secret
from app.settings.env_file import environment, read_env_file, write_env_file
from app.settings.identity import find_identity
from app.settings.reading import Refused, resolve_file
from app.settings.variable import Variable
from app.settings.variables import VARIABLES

cli = typer.Typer(help="Seal secret settings, and keep what is sealed.", no_args_is_help=True)

_SECRETS = {variable.name: variable for variable in VARIABLES if variable.secret}

Name = Annotated[str, typer.Argument(help=f"One of {', '.join(_SECRETS)}.")]
EnvFile = Annotated[
    Path | None, typer.Option("--env-file", help="A file such as .env, instead of the environment.")
]


@cli.command()
def keygen(
    out: Annotated[Path | None, typer.Option(help="File for the identity, mode 0600.")] = None,
) -> None:
    """Make an identity and tell its recipient, as `age-keygen` does."""
    text, recipient = new_identity(datetime.now(UTC))
    if out is None:
        typer.echo(f"recipient: {recipient}", err=True)
        typer.echo(text, nl=False)
        return
    try:
        write_private(out, text)
    except FileExistsError:
        raise Conflict("file_exists", f"{out} is there already, and stays as it is") from None
    typer.echo(recipient)


@cli.command()
def recipients() -> None:
    """Print the recipients of this host's identity, one a line."""
    for recipient in _identity("identity", environment()).recipients:
        typer.echo(recipient)


@cli.command()
def encrypt(
    name: Name,
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="age1…, repeatable; else those of the value in --env-file, else ours."),
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="A file such as .env, whose line is replaced or added.")
    ] = None,
) -> None:
    """Seal a value from standard input or a hidden prompt, and print it or put it into a file."""
    variable = _variable(name)
    values = read_env_file(env_file) if env_file else {}
    before = values.get(name, "")
    value = Secret(_asked(name))
    if not recipient:
        identity = _identity("--recipient", values | environment())
        known = _opened(name, before, identity).recipients if is_sealed(before) else ()
        recipient = list(known or identity.recipients)
    with _told(name):
        variable.parse(value.reveal())
        sealed = seal(name, value, recipient)
    _put({name: sealed}, env_file)


@cli.command()
def check(env_file: EnvFile = None) -> None:
    """Open each sealed setting without showing it; exit 1 when one cannot be used."""
    values = _values(env_file)
    is_good = True
    for name in _SECRETS:
        in_file = resolve_file(name, values)
        text = values.get(name, "").strip()
        listed: tuple[str, ...] = ()
        state = "in a file of its own" if in_file else "in clear"
        if isinstance(values.get(name), Refused):
            state, is_good = text, False
        elif is_sealed(text):
            state = "sealed, and opens"
            try:
                listed = _usable(name, text, values | environment()).recipients
            except Invalid as error:
                state, is_good = error.violations[0].rule, False
        if text:
            # No table: half a recipient, in a narrow column, would be of no use.
            typer.echo("\n    ".join((f"{name}: {state}", *listed)))
    raise typer.Exit(0 if is_good else 1)


@cli.command()
def rekey(
    name: Annotated[
        str | None, typer.Argument(help="One setting; all of --env-file if none is named.")
    ] = None,
    add: Annotated[list[str] | None, typer.Option(help="A recipient, repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A recipient, repeatable.")] = None,
    env_file: EnvFile = None,
) -> None:
    """Seal for other recipients: what a file holds, or standard input to standard output.

    Whoever is removed may have opened it before, so the password is to be changed too.
    """
    if env_file is None and name is None:
        raise typer.BadParameter("name a setting, or a file with --env-file")
    names = [_variable(name).name] if name else list(_SECRETS)
    values = _values(env_file) if env_file else {names[0]: _asked(names[0])}
    sealed = {n: values[n] for n in names if is_sealed(values.get(n, ""))}
    if not sealed:
        raise invalid(name or str(env_file), "must be sealed")
    identity = _identity(next(iter(sealed)), values | environment())
    changed = {}
    # All of them are opened before the first is written.
    for sealed_name, text in sealed.items():
        opened = _opened(sealed_name, text, identity)
        with _told(sealed_name):
            added, removed = (set(map(parse_recipient, given or ())) for given in (add, remove))
            wanted = {*opened.recipients, *added} - removed
            changed[sealed_name] = seal(sealed_name, opened.value, list(wanted))
        if not wanted & set(identity.recipients):
            typer.echo(f"{sealed_name}: this host can no longer open it", err=True)
    _put(changed, env_file)


@cli.command()
def decrypt(name: Name, env_file: EnvFile = None) -> None:
    """Show what is sealed, on a terminal alone."""
    _variable(name)
    if not sys.stdout.isatty():
        raise Forbidden("terminal_missing", "what is sealed is shown on a terminal alone")
    values = _values(env_file)
    resolve_file(name, values)
    text = values.get(name, "")
    if not is_sealed(text):
        raise invalid(name, text if isinstance(text, Refused) else "must be sealed")
    typer.echo(_opened(name, text, _identity(name, values | environment())).value.reveal())


def _variable(name: str) -> Variable:
    if name not in _SECRETS:
        raise typer.BadParameter(f"the secret settings are {', '.join(_SECRETS)}")
    return _SECRETS[name]


def _values(env_file: Path | None) -> dict[str, str]:
    if env_file and not env_file.is_file():
        raise invalid("--env-file", "must name a file")
    return read_env_file(env_file) if env_file else environment()


def _asked(name: str) -> str:
    """Return what is typed unseen, or all of standard input without the line break at its end."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{name}: ").strip()
    content = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise invalid(name, "must be UTF-8") from None
    if not text or len(content) > TEXT_BYTES_MAX:
        raise invalid(name, f"must come on standard input, with at most {TEXT_BYTES_MAX} bytes")
    return text


def _identity(field: str, environ: Mapping[str, str]) -> Identity:
    with _told(field):
        return find_identity(environ)


def _opened(name: str, text: str, identity: Identity) -> OpenedSetting:
    with _told(name):
        return open_sealed(name, text, identity)


def _usable(name: str, text: str, environ: Mapping[str, str]) -> OpenedSetting:
    opened = _opened(name, text, _identity(name, environ))
    with _told(name):
        _SECRETS[name].parse(opened.value.reveal().strip())
    return opened


@contextmanager
def _told(field: str) -> Iterator[None]:
    """Tell what went wrong in one line; none of these holds a value."""
    try:
        yield
    except (IdentityError, SealedError, ValueError) as error:
        raise invalid(field, str(error)) from None


def _put(values: Mapping[str, str], env_file: Path | None) -> None:
    if env_file is None:
        for value in values.values():
            typer.echo(value)
        return
    write_env_file(env_file, values)
    typer.echo(f"{env_file}: sealed {', '.join(values)}")
