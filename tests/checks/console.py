"""Fail when the console outgrows its limits: `python -m tests.checks.console`.

A template has at most 120 lines. One style sheet has at most 700 lines. Our own JavaScript has at
most 600 lines together, and the first line of each module gives the reason for it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATE_LINES = 120
STYLE_LINES = 700
SCRIPT_LINES = 600


def findings(root: Path = ROOT) -> Iterator[str]:
    """Yield each limit that is exceeded."""
    console = root / "app" / "console"
    for template in sorted(console.glob("templates/**/*.html")):
        if (lines := _lines(template)) > TEMPLATE_LINES:
            yield f"{template.relative_to(root)}: {lines} lines, at most {TEMPLATE_LINES}"
    styles = sorted(console.glob("static/*.css"))
    if len(styles) > 1:
        yield f"{styles[1].relative_to(root)}: there must be one style sheet"
    for style in styles:
        if (lines := _lines(style)) > STYLE_LINES:
            yield f"{style.relative_to(root)}: {lines} lines, at most {STYLE_LINES}"
    for script in console.glob("static/*.js"):
        yield f"{script.relative_to(root)}: belongs in app/console/scripts"
    scripts = sorted(console.glob("scripts/*.js"))
    if (lines := sum(map(_lines, scripts))) > SCRIPT_LINES:
        yield f"app/console/scripts/*.js: {lines} lines, at most {SCRIPT_LINES}"
    for script in scripts:
        if not script.read_text().startswith("// "):
            yield f"{script.relative_to(root)}:1: must give the reason for the module"


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


if __name__ == "__main__":
    exceeded = list(findings())
    for finding in exceeded:
        print(finding)  # noqa: T201 - a command's output
    sys.exit(1 if exceeded else 0)
