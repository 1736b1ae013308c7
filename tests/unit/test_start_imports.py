"""The modules that a serving process does not import. Each costs time at the start, and memory."""

import subprocess
import sys

import pytest

from tests.waiting import HANG_SECONDS

# A request to the console, for the documentation or with YAML imports them.
ON_REQUEST = (
    "aiohttp_jinja2",
    "app.console.routes",
    "app.http.openapi",
    "app.operations.doctor",
    "jinja2",
    "yaml",
)
# Only a start with a collector.
FOR_TELEMETRY = ("app.telemetry.component", "opentelemetry.trace", "requests")
# Only a start that migrates or provisions imports them.
FOR_THE_SCHEMA = (
    "app.database.migrations.runner",
    "app.database.roles.provision",
    "psycopg",
    "sqlparse",
    "yoyo",
)
# Only commands and single settings need them.
ELSEWHERE = ("app.cli.root", "click", "grpc", "joserfc", "pygments", "rich", "typer", "zxcvbn")
ABSENT = (*ON_REQUEST, *FOR_TELEMETRY, *FOR_THE_SCHEMA, *ELSEWHERE)


@pytest.fixture(scope="module")
def imported() -> set[str]:
    code = "import sys, app.cli.serve; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    return set(ran.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("module", ABSENT)
def test_start_does_not_import_what_it_never_uses(imported: set[str], module: str) -> None:
    assert module not in imported


@pytest.mark.slow
def test_first_request_imports_modules_that_exist() -> None:
    """A renamed module would be absent from the start for the wrong reason."""
    code = f"import importlib\nfor name in {ABSENT}: importlib.import_module(name)"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG_SECONDS)
