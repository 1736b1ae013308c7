"""The blocks of a page of the documentation. CONTRIBUTING.md describes the convention."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from tests.paths import ROOT

# What a block of each language is run with.
RUNNERS = {
    "sh": "",
    "python": ".venv/bin/python",
    "js": "node --input-type=module",
}
OUTPUTS = {"text", "json"}
# Content of files that a reader creates. It is shown, and not run.
FILES = {"json", "yaml", "ini", "nginx", "apache", "toml"}

_FENCE = re.compile(
    r"""
    (?:<!--\ not\ run:\ (?P<reason>[^>]+?)\ -->\n\s*)?
    ^(?P<indent>\ *)```(?P<language>\w+)(?:\ title="(?P<title>[^"]+)")?\n
    (?P<text>.*?)
    ^(?P=indent)```$
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
# A block that shows a file.
_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_ELSEWHERE = re.compile(r"<!-- tested by (\S+) -->")
_JSON_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    title: str | None
    text: str
    # The reason of `<!-- not run: REASON -->`.
    skip_reason: str | None
    is_output: bool

    @property
    def is_run(self) -> bool:
        return (
            self.language in RUNNERS
            and self.title is None
            and self.skip_reason is None
            and not self.is_output
        )


@dataclass(frozen=True)
class Step:
    """A block to run or a file to write, and the output that the page prints."""

    block: Block
    expected: Block | None


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def tested_by(self) -> str | None:
        """Return the test of a page whose blocks have their own test."""
        match = _ELSEWHERE.search(self.text)
        return match and match[1]

    @cached_property
    def blocks(self) -> list[Block]:
        blocks: list[Block] = []
        end = 0
        for match in _FENCE.finditer(self.text):
            is_output = (
                bool(blocks)
                and match["language"] in OUTPUTS
                and match["title"] is None
                and blocks[-1].language in RUNNERS
                and blocks[-1].title is None
                and not self.text[end : match.start()].strip()
            )
            block = Block(
                line=self.text.count("\n", 0, match.start("indent")) + 1,
                language=match["language"],
                title=match["title"],
                text=_SNIPPET.sub(_file_text, _without(match["indent"], match["text"])),
                skip_reason=match["reason"],
                is_output=is_output,
            )
            blocks.append(block)
            end = match.end()
        return blocks

    def steps(self) -> Iterator[Step]:
        for block, following in pairwise([*self.blocks, None]):
            if block is not None and (block.is_run or block.title):
                has_output = following is not None and following.is_output
                yield Step(block, following if has_output else None)


def _file_text(snippet: re.Match[str]) -> str:
    return (ROOT / snippet[1]).read_text().rstrip()


def _without(indent: str, text: str) -> str:
    """Return the text of a block without the indentation of its fence."""
    return re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def pages() -> list[Page]:
    return [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]


def matches(expected: str, output: str, *, is_json: bool) -> bool:
    """Return whether the output is as expected, where `…` stands for any text.

    White space between the parts of a JSON document does not count. In text, a run of spaces
    counts as one: the columns of a table depend on their content.
    """
    if is_json:
        expected, output = (_JSON_SPACE.sub(r"\1", text) for text in (expected, output))
    else:
        expected, output = (
            "\n".join(re.sub(" +", " ", line).rstrip() for line in text.strip("\n").splitlines())
            for text in (expected, output)
        )
    pattern = ".*?".join(map(re.escape, expected.split("…")))
    return re.fullmatch(pattern, output, re.DOTALL) is not None
