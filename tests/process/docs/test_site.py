"""The documentation site builds without warnings, and all links resolve."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")
_FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
_REQUEST = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*')


def _anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_resolve(name: str) -> None:
    text = _FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    for path, anchor in _LINK.findall(text):
        target = ROOT / (path or name)
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), f"{path}#{anchor}"


@pytest.mark.slow
def test_site_builds_without_warnings_or_foreign_requests(tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ("--config-file", "docs/site/mkdocs.yml", "--site-dir", str(site))
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *options],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    for page in site.rglob("*.html"):
        assert not _REQUEST.findall(page.read_text(encoding="utf-8")), page
