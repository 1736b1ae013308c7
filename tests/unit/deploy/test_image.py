"""The Dockerfile copies files that exist, from a pinned base, and its commands are ours."""

import re
from fnmatch import fnmatch

from app.cli.reference import commands
from tests.paths import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text()


def test_base_is_pinned_by_digest() -> None:
    images = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)

    assert images == ["${BASE}", "${BASE}"]
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", TEXT, re.MULTILINE)


def test_every_copied_file_reaches_the_builder() -> None:
    lines = re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    ignored = (ROOT / "deploy/Dockerfile.dockerignore").read_text()
    allowed = [line[1:] for line in ignored.splitlines() if line.startswith("!")]

    assert all((ROOT / source).exists() for source in sources)
    assert [s for s in sources if not any(fnmatch(s, pattern) for pattern in allowed)] == []
    assert [pattern for pattern in allowed if pattern not in sources] == []


def test_every_package_is_installed_by_its_hash() -> None:
    installs = re.findall(r"pip install ([^&\n]*)", TEXT)

    assert len(installs) == 4
    assert all("--require-hashes" in words or "--no-index" in words for words in installs)


def test_commands_of_the_image_exist() -> None:
    names = {context.info_name for context in commands()}

    assert re.search(r'HEALTHCHECK .* CMD \["flagstone", "probe"\]', TEXT)
    assert TEXT.endswith('ENTRYPOINT ["tini", "--", "flagstone"]\nCMD ["serve"]\n')
    assert {"probe", "serve"} <= names
