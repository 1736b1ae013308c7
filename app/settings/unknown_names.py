"""Warnings about unknown variables, which are probably misspelled."""

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from app.settings.env_file import ENV_FILE
from app.settings.variables import VARIABLES

_KNOWN = (
    *(variable.name for variable in VARIABLES),
    *(f"{variable.name}_FILE" for variable in VARIABLES if variable.secret),
    # systemd sets it for a unit with credentials.
    "CREDENTIALS_DIRECTORY",
)
_PREFIX = "FLAGSTONE_"
# The variables of OpenTelemetry, which it reads itself.
_OF_TELEMETRY = "OTEL_"
# DATABSE_URL has 0.96 of DATABASE_URL, and DATABASE_URL_TEST 0.83.
_NEAR = 0.9
_SIMILAR = 0.75
_LENGTHS = 2


def unknown_names(of_file: Iterable[str], of_environment: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each unknown name of `.env`, and each similar name of the environment.

    The environment, unlike `.env`, also has variables of other programs.
    """
    for name in of_file:
        if name not in _KNOWN and not name.startswith(_OF_TELEMETRY):
            similar = _most_similar(name, _SIMILAR)
            hint = f": did you mean {similar}?" if similar else ", and has no effect"
            yield f"{ENV_FILE}: {name} is not a setting{hint}"
    for name in sorted(set(of_environment).difference(of_file)):
        if name not in _KNOWN and (near := _most_similar(name, _NEAR)):
            yield f"{name} is not a setting: did you mean {near}?"


def _most_similar(name: str, least: float) -> str | None:
    bare = name.upper().removeprefix(_PREFIX)
    matcher = SequenceMatcher(b=bare)
    ratios = []
    for known in _KNOWN:
        if abs(len(known) - len(bare)) <= _LENGTHS:
            matcher.set_seq1(known)
            ratios.append((matcher.ratio(), known))
    ratio, known = max(ratios, default=(0.0, ""))
    return known if ratio >= least else None
