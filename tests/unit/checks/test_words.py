"""The word check reports each broken rule, and ignores code."""

from pathlib import Path

import pytest

from tests.checks.words import findings


def _findings(root: Path, name: str, text: str) -> list[tuple[str, int]]:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return [(path.relative_to(root).as_posix(), line) for path, line, _ in findings(root)]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("app/a.py", '"""Read.\n\nWhoever calls."""\n', 3),
        ("app/a.py", "x = 1  # it is never told\n", 1),
        ("app/a.py", '# Stored for\n# ever.\nx = f"{1} anew"\n', 1),
        ("sql/a.sql", "-- For nobody.\nselect 1;\n", 1),
        ("README.md", "Two values, of which one counts.\n", 1),
        ("app/a.py", "class Head: ...\n\n\nclass Head: ...\n", 1),
        ("tests/test_a.py", f"def test_{'a' * 56}() -> None: ...\n", 1),
    ],
)
def test_word_check_broken_rule_is_found(tmp_path: Path, name: str, text: str, line: int) -> None:
    assert (name, line) in _findings(tmp_path, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app/a.py", "nobody = told = 1\n"),
        ("app/a.py", '"""See `app/aside.py` and flagstone-anew."""\n'),
        ("app/a.py", "class _Head: ...\n\n\nclass _Head: ...\n"),
        ("migrations/1.sql", "-- Whoever reads this.\n"),
        ("tests/test_a.py", f"def test_{'a' * 55}() -> None: ...\n"),
    ],
)
def test_word_check_code_and_migrations_are_ignored(tmp_path: Path, name: str, text: str) -> None:
    assert not _findings(tmp_path, name, text)
