"""Fail on words of the old dialect, on long test names, and on class names that are used twice.

`python -m tests.checks.words [PATH…]` reads comments, docstrings, strings and documents, and prints
each finding as file:line. Applied migrations are not checked, because they cannot be edited.
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_NAME_MAX = 60

# Forbidden words, and the words to use.
_WORDS = {
    "whoever|whosoever": "the caller, the operator, a process that …",
    "anew": "again",
    "nobody|somebody|everybody": "no one, another process, all clients; better: name the actor",
    "for ever": "forever, without limit",
    "told": "logged, reported, notified",
    "tells? of": "report, describe, list",
    "lets? go of|letting go of": "release, drop, free",
    "such as (?:is|are|was|were)": "name the things",
    "of which|of whom": "start a new sentence",
    "noted": "recorded, logged",
    "aside": "separately, in a process, first",
    "looked at": "read, checked, inspected",
    "lives on|lives? by": "runs, remains valid",
    "made and joined": "created and joined",
    "has it that|have it that": "requires, says",
    "howsoever|whence|thence|wherein|thereof|hereby": "use plain English",
    "none the less|nonetheless": "still",
    "kept": "stored, retained, cached",
}
_ACCOUNT = "the account `nobody` of the operating system"
# Accepted lines: the file, a part of the line, and the reason.
_EXCEPTIONS = (
    ("tests/checks/words.py", "", "lists the words"),
    ("tests/unit/checks/test_words.py", "", "tests the words"),
    ("app/database/embedded/account.py", "nobody", _ACCOUNT),
    ("app/settings/variables.py", "nobody", _ACCOUNT),
    (".env.example", "nobody", _ACCOUNT),
    ("docs/settings.md", "postgres or nobody", _ACCOUNT),
    ("docs/postgresql.md", "or else as `nobody`", _ACCOUNT),
    ("app/database/catalog/recording.py", "tells of", "text of an installed function"),
    ("app/access/log.py", "noted", "a label of a metric, which users query"),
    ("tests/api/operations/test_metrics.py", "noted", "the same label"),
)
_PLAIN = (
    "sql/**/*.sql",
    "docs/**/*.md",
    "README.md",
    "CONTRIBUTING.md",
    ".env.example",
    "Makefile",
)
# The words of a phrase may stand on two lines of a comment.
_SPACE = r"\s+(?:(?:#|--|\*)\s*)?"
_GROUPS = "|".join(f"({words.replace(' ', _SPACE)})" for words in _WORDS)
_PATTERN = re.compile(rf"(?<![\w.`/-])(?:{_GROUPS})(?![\w`/-]|\.\w)", re.IGNORECASE)
_INSTEAD = tuple(_WORDS.values())
# Since Python 3.12 the text of an f-string is a token of another type.
_TEXT_TOKENS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}

Finding = tuple[Path, int, str]


def findings(root: Path = ROOT) -> Iterator[Finding]:
    """Yield each file, line and rule that is broken."""
    modules = {path: path.read_text() for path in _files(root, "app/**/*.py", "tests/**/*.py")}
    texts = {path: _text_of(module) for path, module in modules.items()}
    texts |= {path: path.read_text() for path in _files(root, *_PLAIN)}
    for path, text in texts.items():
        yield from _words_in(path, text, root)
    trees = {path: ast.parse(module) for path, module in modules.items()}
    yield from _doubled_classes(trees, root)
    yield from _long_test_names(trees)


def _files(root: Path, *patterns: str) -> list[Path]:
    return sorted(chain.from_iterable(map(root.glob, patterns)))


def _text_of(module: str) -> str:
    """Return the module with spaces in place of all but comments and strings."""
    lines = [" " * len(line) for line in module.splitlines()]
    source = module.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(module).readline):
        if token.type not in _TEXT_TOKENS:
            continue
        (first, start), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            line = source[number - 1]
            left, right = start if number == first else 0, end if number == last else len(line)
            lines[number - 1] = (
                lines[number - 1][:left] + line[left:right] + lines[number - 1][right:]
            )
    return "\n".join(lines)


def _words_in(path: Path, text: str, root: Path) -> Iterator[Finding]:
    lines = text.splitlines()
    name = path.relative_to(root).as_posix()
    allowed = [part for file, part, _ in _EXCEPTIONS if file == name]
    for match in _PATTERN.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        if match.lastindex and not any(part in lines[number - 1] for part in allowed):
            words, instead = " ".join(match[0].split()), _INSTEAD[match.lastindex - 1]
            yield path, number, f'"{words}": write {instead}'


def _doubled_classes(trees: dict[Path, ast.Module], root: Path) -> Iterator[Finding]:
    classes: defaultdict[str, list[tuple[Path, int]]] = defaultdict(list)
    for path, tree in trees.items():
        if not path.is_relative_to(root / "app"):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append((path, node.lineno))
    for name, where in classes.items():
        if len(where) > 1:
            yield from (
                (path, line, f"another public class is named {name}") for path, line in where
            )


def _long_test_names(trees: dict[Path, ast.Module]) -> Iterator[Finding]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_") and len(node.name) > TEST_NAME_MAX:
                rule = f"{node.name} has {len(node.name)} characters, at most {TEST_NAME_MAX}"
                yield path, node.lineno, rule


def main() -> int:
    violations = sorted(
        (path, line, rule)
        for path, line, rule in findings()
        if path.relative_to(ROOT).as_posix().startswith(tuple(sys.argv[1:] or [""]))
    )
    for path, line, rule in violations:
        print(f"{path.relative_to(ROOT)}:{line}: {rule}")  # noqa: T201 - a command's output
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
