"""`seal`: encrypt secret settings as text that only the identities of chosen hosts open.

No command takes a value as an argument, because every account of the machine could read it.
"""

import getpass
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.help import Commands
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
from app.errors import Conflict, Forbidden, Invalid, invalid, reported_as
from app.private_files import write_private
from app.settings import Secret
from app.settings.env_file import environment, read_env_file, write_env_file
from app.settings.identity import find_identity
from app.settings.reading import Refused, resolve_file
from app.settings.variable import Variable
from app.settings.variables import VARIABLES

cli = Commands(
    """Encrypt secret settings, such as DATABASE_URL, for chosen hosts.

    Each host has an identity, a private key. Its recipient is the public key, age1….

    Works on: files and the environment.

    Needs: IDENTITY_FILE, or --recipient to encrypt.
    """
)

_SECRETS = {variable.name: variable for variable in VARIABLES if variable.secret}

Name = Annotated[str, typer.Argument(help=f"Secret setting: one of {', '.join(_SECRETS)}.")]
EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="File to use instead of the environment, e.g. .env."),
]


@cli.command()
def keygen(
    out: Annotated[
        Path | None,
        typer.Option(
            help="New file for the identity, with mode 0600; standard output by default.",
        ),
    ] = None,
) -> None:
    """Create an identity and print its recipient, as `age-keygen` does.

    Example: python -m app seal keygen --out identity

    Needs: nothing.
    """
    text, recipient = new_identity(datetime.now(UTC))
    if out is None:
        typer.echo(f"recipient: {recipient}", err=True)
        typer.echo(text, nl=False)
        return
    try:
        write_private(out, text)
    except FileExistsError:
        raise Conflict("file_exists", f"{out} exists already and was not changed") from None
    typer.echo(recipient)


@cli.command()
def recipients() -> None:
    """Print the recipients of this host's identity, one per line.

    Example: python -m app seal recipients

    Needs: IDENTITY_FILE.
    """
    for recipient in _identity("identity", environment()).recipients:
        typer.echo(recipient)


@cli.command()
def encrypt(
    name: Name,
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="Recipient, age1…, repeatable; default: as before, or this host's."),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(help="File in which to replace or add the line, e.g. .env."),
    ] = None,
) -> None:
    """Encrypt a value from standard input or a hidden prompt. Print it, or write it to a file.

    Example: echo $URL | python -m app seal encrypt DATABASE_URL
    """
    variable = _variable(name)
    values = read_env_file(env_file) if env_file else {}
    before = values.get(name, "")
    value = Secret(_entered(name))
    if not recipient:
        identity = _identity("--recipient", values | environment())
        known = _opened(name, before, identity).recipients if is_sealed(before) else ()
        recipient = list(known or identity.recipients)
    with _reported_as(name):
        variable.parse(value.reveal())
        sealed = seal(name, value, recipient)
    _write({name: sealed}, env_file)


@cli.command()
def check(env_file: EnvFile = None) -> None:
    """Decrypt each sealed setting without printing it; exit with 1 if one cannot be used.

    Example: python -m app seal check
    """
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
            # A table would cut recipients.
            typer.echo("\n    ".join((f"{name}: {state}", *listed)))
    raise typer.Exit(0 if is_good else 1)


@cli.command()
def rekey(
    name: Annotated[
        str | None, typer.Argument(help="Secret setting; all of --env-file by default.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Recipient to add; repeatable.", metavar="RECIPIENT")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="Recipient to remove; repeatable.", metavar="RECIPIENT")
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Encrypt for other recipients: the settings of a file, or standard input.

    A removed recipient may have read the value before, so change the password as well.

    Example: python -m app seal rekey --env-file .env --add RECIPIENT
    """
    if env_file is None and name is None:
        raise typer.BadParameter("name a setting, or a file with --env-file")
    names = [_variable(name).name] if name else list(_SECRETS)
    values = _values(env_file) if env_file else {names[0]: _entered(names[0])}
    sealed = {n: values[n] for n in names if is_sealed(values.get(n, ""))}
    if not sealed:
        raise invalid(name or str(env_file), "must be sealed")
    identity = _identity(next(iter(sealed)), values | environment())
    changed = {}
    # Open all of them before the first is written.
    for sealed_name, text in sealed.items():
        opened = _opened(sealed_name, text, identity)
        with _reported_as(sealed_name):
            added, removed = (set(map(parse_recipient, given or ())) for given in (add, remove))
            allowed = {*opened.recipients, *added} - removed
            changed[sealed_name] = seal(sealed_name, opened.value, list(allowed))
        if not allowed & set(identity.recipients):
            typer.echo(f"{sealed_name}: this host can no longer open it", err=True)
    _write(changed, env_file)


@cli.command()
def decrypt(name: Name, env_file: EnvFile = None) -> None:
    """Print the value of a sealed setting, on a terminal only.

    Example: python -m app seal decrypt DATABASE_URL
    """
    _variable(name)
    if not sys.stdout.isatty():
        raise Forbidden("terminal_missing", "a sealed setting is printed on a terminal only")
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


def _entered(name: str) -> str:
    """Return the answer of a hidden prompt, or standard input without its last line break."""
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
    with _reported_as(field):
        return find_identity(environ)


def _opened(name: str, text: str, identity: Identity) -> OpenedSetting:
    with _reported_as(name):
        return open_sealed(name, text, identity)


def _usable(name: str, text: str, environ: Mapping[str, str]) -> OpenedSetting:
    opened = _opened(name, text, _identity(name, environ))
    with _reported_as(name):
        _SECRETS[name].parse(opened.value.reveal().strip())
    return opened


def _reported_as(field: str) -> AbstractContextManager[None]:
    # The text of these never holds a value.
    return reported_as(field, IdentityError, SealedError, ValueError)


def _write(values: Mapping[str, str], env_file: Path | None) -> None:
    if env_file is None:
        for value in values.values():
            typer.echo(value)
        return
    write_env_file(env_file, values)
    typer.echo(f"{env_file}: sealed {', '.join(values)}")
