"""From a mapping of texts to parsed values, through environs, with every mistake collected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from environs import Env, EnvValidationError, ValidationError

from app.crypto.identity import IdentityError
from app.crypto.sealed import SealedError, is_sealed, open_sealed
from app.errors import ForeseenError
from app.private_files import read_regular
from app.settings.identity import find_identity
from app.settings.rules import broken_by_surroundings, broken_rules
from app.settings.variable import Tier, Variable
from app.settings.variables import VARIABLES

# Twice what a sealed value may have.
_FILE_BYTES_MAX = 131_072


class SettingsError(ForeseenError):
    """Every broken rule, one a line: `NAME: rule`. No value is ever in it."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {name}: {rule}" for name, rule in problems)
        super().__init__(f"The settings are not usable:\n{lines}")


class Refused(str):
    """A text that stands for a variable which could not be had; it is the rule that was broken."""

    __slots__ = ()


class _MappingEnv(Env):
    """environs over a given mapping; an empty variable counts as unset."""

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
    """Return the tier, every variable's value, the names of those that were not in clear, and which
    of them came from which `NAME_FILE` as they are.
    """
    mapping = dict(environ)
    found = {v.name: resolve_file(v.name, mapping) for v in VARIABLES if v.secret}
    files = {name: file for name, file in found.items() if file is not None}
    sealed = _open_sealed(mapping)
    kept_secret = {*files, *sealed}
    # Whoever reads such a file anew would find what is sealed.
    files = {name: file for name, file in files.items() if name not in sealed}
    env = _MappingEnv(mapping)
    # A wrong TIER is reported with the rest, which are then read with the defaults of local.
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
    # What broke alone is None by now; a second complaint about it would only confuse.
    reported = {name for name, _ in problems}
    rules = (
        *broken_rules(tier, values, kept_secret),
        *broken_by_surroundings(tier, values, environ),
    )
    problems += [rule for rule in rules if rule[0] not in reported]
    if problems:
        raise SettingsError(problems)
    return tier, values, kept_secret, files


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
    """Put the content of the file that NAME_FILE names in NAME's place; return the file."""
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
    """Return the text of a file; empty when it cannot be had."""
    try:
        return read_regular(file, _FILE_BYTES_MAX).decode().strip()
    except (OSError, ValueError):
        return ""


def _open_sealed(mapping: dict[str, str]) -> set[str]:
    """Put what was sealed in its place; return the names."""
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
