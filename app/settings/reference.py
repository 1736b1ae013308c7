"""Generates `.env.example` and the table of docs/settings.md from the declared variables."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from app.settings.variable import Tier, Variable
from app.settings.variables import VARIABLES


def env_example() -> str:
    return "\n".join(_example_lines()) + "\n"


def table() -> str:
    """Return the table of docs/settings.md, in Markdown."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for variable in VARIABLES:
        name = f"`{variable.name}`" + (" (secret)" if variable.secret else "")
        rows.append(f"| {name} | {_defaults(variable)} | {variable.help} |")
    return "\n".join(rows)


def _example_lines() -> Iterator[str]:
    yield "# Copy to .env, and uncomment variables to set. Variables of the process have priority."
    yield "# Seal a variable marked [secret] with `python -m app seal encrypt NAME`, or read it"
    yield "# from a file: NAME_FILE=/run/secrets/name."
    for group, variables in groupby(VARIABLES, key=lambda variable: variable.group):
        yield f"\n# ---- {group} ----"
        for variable in variables:
            mark = " [secret]" if variable.secret else ""
            yield f"\n# {variable.help}{mark}"
            yield f"#{variable.name}={variable.default_for(Tier.LOCAL) or ''}"
            if isinstance(variable.default, Mapping):
                yield f"# by tier: {_defaults(variable)}"


def _defaults(variable: Variable) -> str:
    if isinstance(variable.default, Mapping):
        return " / ".join(variable.default[tier] for tier in Tier)
    return variable.default or "unset"


def _write() -> None:
    """Write both files of the project, which must be the working directory."""
    Path(".env.example").write_text(env_example(), encoding="utf-8")
    page = Path("docs/settings.md")
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- settings -->\n")
    _, end, after = rest.partition("<!-- /settings -->")
    page.write_text(f"{before}{begin}\n{table()}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    _write()
