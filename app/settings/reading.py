"""Parsing of all variables with environs, which collects every mistake."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from environs import Env, EnvValidationError, ValidationError

from app.crypto.identity import IdentityError
from app.crypto.sealed import SealedError, is_sealed, open_sealed
from app.errors import ForeseenError
from app.private_files import read_regular
from app.settings.identity import find_identity
from app.settings.rules import broken_by_libpq_variables, broken_rules
from app.settings.variable import Tier, Variable
from app.settings.variables import VARIABLES

# Twice the limit of a sealed value.
_FILE_BYTES_MAX = 131_072
_VARIABLE_NAME = re.compile("[A-Z][A-Z_]+")


class SettingsError(ForeseenError):
    """All broken rules, as lines of `NAME: rule`. It contains no values."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {name}: {rule}" for name, rule in problems)
        super().__init__(f"The settings are invalid:\n{lines}")


class Refused(str):
    """A broken rule, in place of the value of a variable."""

    __slots__ = ()


class _MappingEnv(Env):
    """environs over a mapping. An empty variable counts as unset."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self.mapping = mapping
        self.add_parser("variable", _parse)

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = self.mapping.get(env_key, "")
        return value if isinstance(value, Refused) or value.strip() else default


def read_values(
    environ: Mapping[str, str],
) -> tuple[Tier, dict[str, Any], set[str], Mapping[str, Path]]:
    """Return the tier, all values, the names not in clear, and the plain `NAME_FILE` files.

    Names not in clear came sealed or from a file. Raises SettingsError.
    """
    mapping = dict(environ)
    named = {v.name: resolve_file(v.name, mapping) for v in VARIABLES if v.secret}
    files = {name: file for name, file in named.items() if file is not None}
    sealed = _open_sealed(mapping)
    not_in_clear = {*files, *sealed}
    # Files are read again when they change, and a sealed file would not be opened then.
    files = {name: file for name, file in files.items() if name not in sealed}
    env = _MappingEnv(mapping)
    # With an invalid TIER, the others are read with the defaults of local.
    tier = Tier.LOCAL
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        values[variable.name] = env.variable(
            variable.name, default=variable.default_for(tier), variable=variable
        )
        if variable.name == "TIER":
            tier = values["TIER"] or tier
    problems: list[tuple[str, str]] = []
    try:
        env.seal()
    except EnvValidationError as error:
        messages: Mapping[str, list[str]] = error.error_messages  # type: ignore[assignment]
        problems = [(name, rule) for name, rules in messages.items() for rule in rules]
    # An invalid variable is None here. Do not report it twice, nor a rule that compares with it.
    reported = {name for name, _ in problems}
    rules = (
        *broken_rules(tier, values, not_in_clear),
        *broken_by_libpq_variables(tier, values, environ),
    )
    problems += [
        (name, rule)
        for name, rule in rules
        if reported.isdisjoint({name, *_VARIABLE_NAME.findall(rule)})
    ]
    if problems:
        raise SettingsError(problems)
    return tier, values, not_in_clear, files


def _parse(raw: str | None, *, variable: Variable) -> Any:
    if isinstance(raw, Refused):
        raise ValidationError(str(raw))
    if raw is None:
        return None
    try:
        return variable.parse(raw.strip())
    except ValueError as error:
        raise ValidationError(str(error)) from None


def resolve_file(name: str, mapping: dict[str, str]) -> Path | None:
    """Set NAME to the content of the file of NAME_FILE. Return the file."""
    file = mapping.get(f"{name}_FILE", "").strip()
    if not file:
        return None
    if mapping.get(name, "").strip():
        mapping[name] = Refused(f"must not be set together with {name}_FILE")
        return Path(file)
    mapping[name] = _content(Path(file)) or Refused(
        f"{name}_FILE must name a readable file of 1 to {_FILE_BYTES_MAX} bytes"
    )
    return Path(file)


def _content(file: Path) -> str:
    """Return the text of a file, empty if it cannot be read."""
    try:
        return read_regular(file, _FILE_BYTES_MAX).decode().strip()
    except (OSError, ValueError):
        return ""


def _open_sealed(mapping: dict[str, str]) -> set[str]:
    """Replace sealed values by opened ones. Return their names."""
    sealed = [v for v in VARIABLES if is_sealed(mapping.get(v.name, ""))]
    for variable in sealed:
        if not variable.secret:
            mapping[variable.name] = Refused("must not be sealed: it is not a secret")
    names = [variable.name for variable in sealed if variable.secret]
    if not names:
        return set()
    try:
        identity = find_identity(mapping)
    except IdentityError as error:
        mapping |= dict.fromkeys(names, Refused(f"is sealed, and {error}"))
        return set(names)
    for name in names:
        try:
            mapping[name] = open_sealed(name, mapping[name], identity).value.reveal()
        except SealedError as error:
            mapping[name] = Refused(str(error))
    return set(names)
