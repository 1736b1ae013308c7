"""Lint, render and validate the Helm chart. It runs in the environment `.chart`.

Standard input has a JSON object: the chart, and the sets of values by their names. Standard output
has a JSON object: a result per set.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import yaml

_INFO = 1
# Of operators that a cluster may have. kubernetes-validate does not know them.
_FOREIGN = {"HTTPRoute", "ServiceMonitor"}
# The oldest version that the chart accepts, and the newest.
_VERSIONS = ("1.27", kubernetes_validate.latest_version())


def main() -> None:
    given = json.load(sys.stdin)
    results = {name: _result(given["chart"], values) for name, values in given["sets"].items()}
    json.dump(results, sys.stdout)


def _result(path: str, values: dict[str, Any]) -> dict[str, Any]:
    lint = helm_python.lint(path, values, strict=True)
    findings = [*lint["errors"], *(m["error"] for m in lint["messages"] if m["severity"] > _INFO)]
    with helm_python.Chart.load(path) as chart:
        try:
            texts = chart.render(values, name="demo", namespace="flags")
        except helm_python.HelmError as error:
            return {"refusal": str(error)}
    notes = texts.pop("flagstone/templates/NOTES.txt")
    manifests = [m for text in texts.values() for m in yaml.safe_load_all(text) if m]
    problems = [problem for manifest in manifests for problem in _problems(manifest)]
    return {"findings": findings, "notes": notes, "manifests": manifests, "problems": problems}


def _problems(manifest: dict[str, Any]) -> Iterator[str]:
    if manifest["kind"] in _FOREIGN:
        return
    for version in _VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {manifest['kind']}: {error.message}"


main()
