"""The Helm chart and its page agree with the code, as far as that needs no Helm."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import yaml

from app import VERSION
from app.cli.help import subcommands
from app.cli.reference import commands
from app.server.routes import ROUTES
from app.settings.variables import VARIABLES
from tests.paths import ROOT
from tests.process.docs.pages import Page

CHART = ROOT / "deploy/helm/flagstone"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
PAGE = Page(ROOT / "docs/kubernetes.md")
# Maps whose keys the user chooses.
OPEN = {"settings", "resources"} | {
    f"secrets.{secret}.files" for secret in ("app", "migrator", "relay")
}


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        path = prefix + name
        if isinstance(value, dict) and value and path not in OPEN:
            yield from _leaves(value, f"{path}.")
        else:
            yield path


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield each part of the schema that lists properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from _objects(part)


def test_chart_has_the_version_of_the_service() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == VERSION


def test_page_lists_every_value() -> None:
    table = PAGE.text.partition("## Values")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)

    listed = [name for row in rows for name in re.findall("`([^`]+)`", row)]

    assert sorted(listed) == sorted(_leaves(VALUES))


def test_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    parts = list(_objects(schema))

    assert len(parts) > 10
    assert all(part["additionalProperties"] is False for part in parts)
    for path in _leaves(VALUES):
        part = schema
        for name in path.split("."):
            part = part["properties"][name]


def test_templates_read_values_that_exist() -> None:
    text = "\n".join(path.read_text() for path in CHART.glob("templates/**/*") if path.is_file())
    leaves = [path.split(".") for path in _leaves(VALUES)]
    known = {".".join(path[:n]) for path in leaves for n in range(1, len(path) + 1)}
    known |= {f"settings.{variable.name}" for variable in VARIABLES}

    read = set(re.findall(r"\.Values\.([a-zA-Z_.]*\w)", text))

    assert len(read) > 25
    assert read <= known


def test_chart_sets_settings_that_exist() -> None:
    names = {variable.name for variable in VARIABLES}
    checks = (CHART / "templates/_checks.tpl").read_text()
    of_chart = set(re.findall(r'^    "([A-Z_]+)" "', checks, re.MULTILINE))

    assert of_chart == {
        *("DATA_DIR", "HOST", "INSTANCE_ID", "MIGRATE_ON_START", "PORT", "RELAY_UPSTREAM")
    }
    for secret in VALUES["secrets"].values():
        assert of_chart | secret["files"].keys() <= names
    assert all(f"`{name}`" in PAGE.text for name in of_chart)


def test_probes_ask_paths_that_exist() -> None:
    text = (CHART / "templates/deployment.yaml").read_text()
    probes = dict(re.findall(r"(\w+)Probe:\n +httpGet: \{path: (\S+),", text))

    assert probes == {
        "startup": "/health/started",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert set(probes.values()) <= {route.path for route in ROUTES}


def test_commands_of_chart_and_page_exist() -> None:
    known = {
        " ".join(context.command_path.split()[3:])
        for context in commands()
        if not any(subcommands(context))
    }
    templates = "\n".join(path.read_text() for path in CHART.glob("templates/**/*.yaml"))
    arguments = re.findall(r"args: \[(.*)\]", templates)
    quoted = re.findall(r"(?:`|-- )flagstone ([a-z]+ [a-z]+)", PAGE.text)

    chosen = '{{ ternary "relay" "serve" $relay }}'
    assert set(arguments) == {chosen, "database, migrate", "probe, ready"}
    assert {"relay", "serve", "database migrate", "probe"} <= known
    assert len(quoted) > 3
    assert set(quoted) <= known


def test_commands_of_the_page_name_the_objects_of_the_chart() -> None:
    lines = [line for b in PAGE.blocks if b.language == "sh" for line in b.text.splitlines()]
    secrets = [shlex.split(line) for line in lines if "create secret" in line]

    created = {
        words[4]: {word.rpartition("/")[2] for word in words if word.startswith("--from-file")}
        for words in secrets
    }

    wanted = {entry["name"]: set(entry["files"].values()) for entry in VALUES["secrets"].values()}
    assert created == wanted
    assert all((ROOT / path).is_dir() for path in re.findall(r"deploy/\S+", "\n".join(lines)))


def test_values_of_the_page_exist() -> None:
    known = set(_leaves(VALUES))
    texts = [block.text for block in PAGE.blocks if block.language == "yaml"]

    assert len(texts) == 2
    for text in texts:
        assert set(_leaves(yaml.safe_load(text))) <= known, text
