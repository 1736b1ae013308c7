"""The blocks of the README and of docs/ work as they are printed."""

import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.ports import free_port
from tests.process.conftest import Process
from tests.process.docs.pages import FILES, OUTPUTS, RUNNERS, Page, matches, pages
from tests.process.docs.session import BlockFailed, Session

PAGES = pages()
RUN_HERE = [page for page in PAGES if page.tested_by is None and any(page.steps())]
# Blocks that need another machine, a network or another language. Each has its reason in the page.
NOT_RUN_MAX = 30


def _folder() -> Path:
    # As root, the embedded server's account must be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="flagstone-page-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Process]:
    """One service for all pages, with the data folder of a first start."""
    folder = _folder()
    process = Process(data_dir=folder, port=free_port())
    try:
        await process.start()
        await process.ready()
        yield process
        assert await process.stop() == 0
    finally:
        if process.child is not None and process.child.returncode is None:
            process.child.kill()
            await process.child.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
async def test_page_works_as_printed(page: Page, service: Process) -> None:
    folder = _folder()
    try:
        await Session(page, service, folder).run()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\necho a\n```\n\n```text\nb\n```\n", "output differs"),
        ("```sh\nfalse\ntrue\n```\n", "command of the block failed"),
        ("```sh\nexit\n```\n", "did not end"),
        ("```python\nraise SystemExit(1)\n```\n", "command of the block failed"),
    ],
)
async def test_page_with_a_mistake_fails(text: str, message: str, tmp_path: Path) -> None:
    page = Page(ROOT / "README.md")
    page.__dict__["text"] = text

    with pytest.raises(BlockFailed, match=message):
        await Session(page, Process(tmp_path, port=1), tmp_path).run()


@pytest.mark.parametrize(
    ("expected", "output"),
    [("one\ntwo\n", "one  \ntwo"), ("one …\n", "one 1\n"), ("…\ntwo\n", "zero\none\ntwo\n")],
)
def test_text_matches_with_one_wildcard(expected: str, output: str) -> None:
    assert matches(expected, output, is_json=False)
    assert not matches(f"{expected}more\n", output, is_json=False)


@pytest.mark.parametrize(
    "expected", ['{"a": 1, "b": "x y"}', '{"a": 1,\n …}', '{"a": …, "b": "…"}']
)
def test_json_matches_without_its_white_space(expected: str) -> None:
    assert matches(expected, '{"a":1,"b":"x y"}', is_json=True)
    assert not matches(expected, '{"b":"xy"}', is_json=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_that_are_not_run_have_a_reason(page: Page) -> None:
    if page.tested_by is not None:
        assert (ROOT / page.tested_by).is_file()
        return
    assert 2 * len(page.blocks) == len(re.findall(r"^ *```", page.text, re.MULTILINE))
    for block in page.blocks:
        place = f"{page.name}:{block.line}"
        is_shown = block.language in RUNNERS or block.language in FILES or block.is_output
        assert is_shown or block.title or block.skip_reason, f"{place}: {block.language} is not run"
        if block.language == "json" and not block.is_output and "…" not in block.text:
            json.loads(block.text)
        assert block.language not in OUTPUTS - FILES or block.is_output or block.skip_reason, place


def test_troubleshooting_quotes_messages_of_the_code() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    sources = [
        path.read_text() for ending in ("py", "sh") for path in ROOT.glob(f"app/**/*.{ending}")
    ]
    # A long message is split over several lines.
    code = re.sub(r'"\n\s+f?"', "", "\n".join(sources))

    quoted = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)

    assert len(quoted) > 30
    assert [text for text in quoted if text not in code] == []


def test_few_blocks_are_not_run() -> None:
    skipped = [
        f"{page.name}:{block.line}: {block.skip_reason}"
        for page in PAGES
        for block in page.blocks
        if block.skip_reason is not None
    ]

    assert len(skipped) <= NOT_RUN_MAX, "\n".join(skipped)
