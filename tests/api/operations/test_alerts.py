"""The alert rules and the dashboard use metrics and labels that the service exposes."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from app.cli.help import subcommands
from app.cli.reference import commands
from tests.api.metrics import scrape
from tests.conftest import Service
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

RULES = ROOT / "deploy/prometheus/alerts.yaml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/flagstone.json").read_text())
PAGE = (ROOT / "docs/alerts.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + [target["expr"] for target in TARGETS]

DURATIONS = "flagstone_http_request_duration_seconds"
# Labels that Prometheus or every sample has.
COMMON = {"job", "instance", "worker"}
Labels = dict[str, set[str]]


@cache
def _declared() -> Labels:
    """Return the labels of each metric in the code. Some metrics exist only in a relay."""
    found: Labels = {
        "up": set(),
        f"{DURATIONS}_count": {"method", "route", "status"},
        f"{DURATIONS}_sum": {"method", "route", "status"},
        f"{DURATIONS}_bucket": {"method", "route", "status", "le"},
    }
    for path in ROOT.glob("app/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found |= _metric(node.func.id, node.args)
    return found


def _metric(function: str, arguments: list[ast.expr]) -> Labels:
    if function not in {"gauge", "gauges", "counter", "counters"}:
        return {}
    texts = [str(node.value) for node in arguments if isinstance(node, ast.Constant)]
    if not texts or not texts[0].startswith("flagstone_"):
        return {}
    name = texts[0] + ("_total" if function.startswith("counter") else "")
    return {name: set(texts[2].split()) if function.endswith("s") else set()}


def _names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:flagstone|process)_\w+|\bup\b", expression))


def _selected(expression: str) -> Iterator[tuple[str, str]]:
    """Yield each metric with a label of its selector."""
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        for label in re.findall(r'(\w+) *(?:=~|!~|!=|=) *"', selector):
            yield name, label


def _grouped(expression: str) -> set[str]:
    lists = re.findall(r"\bby \(([^)]*)\)", expression)
    return {label for text in lists for label in re.findall(r"\w+", text)}


@pytest.mark.slow
async def test_metrics_of_the_service_are_declared(service: Service) -> None:
    declared = _declared()
    await service.client.get("/v1/environments/local/configurations")

    samples = await scrape(service)

    ours = [(name, dict(labels)) for name, labels in samples if name.startswith("flagstone_")]
    assert len({name for name, _ in ours}) > 25
    for name, labels in ours:
        assert labels.keys() - {"worker"} == declared[name], name


async def test_expressions_use_metrics_that_exist(service: Service) -> None:
    of_process = {name for name, _ in await scrape(service) if name.startswith("process_")}
    known: Labels = _declared() | {name: set() for name in of_process}

    for expression in EXPRESSIONS:
        names = _names(expression)
        assert names, expression
        assert names <= known.keys(), expression
        for name, label in _selected(expression):
            assert label in known[name] | COMMON, expression
        assert _grouped(expression) <= COMMON.union(*(known[name] for name in names)), expression


def test_every_metric_of_an_expression_names_the_job() -> None:
    for expression in EXPRESSIONS:
        metrics = re.findall(r"\b(?:flagstone|process)_\w+|\bup\b", expression)
        assert expression.count('job="') == len(metrics), expression


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_has_severity_summary_and_runbook(alert: dict[str, Any]) -> None:
    name = alert["alert"]

    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"
    assert f"\n## {name}\n" in PAGE
    assert re.search(rf"alertname: {name}\b", (RULES.parent / "alerts_test.yaml").read_text())


def test_page_has_no_alert_without_a_rule() -> None:
    headings = re.findall("^## (Flagstone.*)$", PAGE, re.MULTILINE)

    assert headings == [alert["alert"] for alert in ALERTS]


def test_commands_of_the_page_exist() -> None:
    known = {
        " ".join(context.command_path.split()[3:])
        for context in commands()
        if not any(subcommands(context))
    }
    used = set(re.findall(r"^flagstone (\w+ \w+)|`flagstone (\w+ \w+)`", PAGE, re.MULTILINE))

    assert len(used) > 3
    assert {first or second for first, second in used} <= known
    assert all((ROOT / path).is_file() for path in re.findall(r"deploy/[\w/.]+\w", PAGE))


def test_legends_name_labels_of_their_expression() -> None:
    for target in TARGETS:
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        names = _names(target["expr"])
        declared = COMMON.union(*(_declared().get(name, set()) for name in names))
        assert labels <= (_grouped(target["expr"]) or declared), target["expr"]


def test_panels_do_not_overlap_and_have_own_names() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)
    for name in ("id", "title"):
        assert len({panel[name] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("words", [("check", "alerts.yaml"), ("test", "alerts_test.yaml")])
def test_promtool_accepts_the_rules(words: tuple[str, str]) -> None:
    verb, file = words

    run = subprocess.run(
        ["promtool", verb, "rules", file],
        cwd=RULES.parent,
        capture_output=True,
        check=False,
        text=True,
        timeout=HANG_SECONDS,
    )

    assert run.returncode == 0, run.stdout + run.stderr
