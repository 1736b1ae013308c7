"""Fail when a test uses a private name of app/.

`python -m tests.checks.private` reads tests/ and prints each finding as file:line. A private name
has one leading underscore. Attributes of `self` and `cls` and imports from tests/ are allowed.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Private names of libraries: the file, the name, and why no public name will do.
_SOCKET = "asyncpg has no public way to the socket of a connection"
_EXCEPTIONS = (
    ("tests/process/forks.py", "_exit", "Python documents this function of os"),
    ("tests/process/forks.py", "_shutdown", "the end of an interpreter has no public parts"),
    ("tests/process/forks.py", "_run_exitfuncs", "the same"),
    ("tests/database/test_pool.py", "_con", _SOCKET),
    ("tests/database/test_pool.py", "_transport", _SOCKET),
    ("tests/database/test_tls.py", "_con", _SOCKET),
    ("tests/database/test_tls.py", "_transport", _SOCKET),
)
_PRIVATE = re.compile(r"_[^\W_]\w*")
# In a string: the target of a patch, or code that a test runs in another process.
_DOTTED = re.compile(r"\b[a-z]\w*(?:\.\w+|\(\))*\.(_[^\W_]\w*)")
_PATCHES = {"setattr", "delattr", "getattr", "hasattr", "object"}

Finding = tuple[Path, int, str]


def findings(root: Path = ROOT) -> Iterator[Finding]:
    """Yield each file, line and private name that a test uses."""
    for path in sorted(root.glob("tests/**/*.py")):
        name = path.relative_to(root).as_posix()
        allowed = {private for file, private, _ in _EXCEPTIONS if file == name}
        if name == "tests/unit/checks/test_private.py":
            continue  # its strings are examples of private names
        for node in ast.walk(ast.parse(path.read_text())):
            for private in _private_names(node):
                if private not in allowed:
                    yield (
                        path,
                        getattr(node, "lineno", 1),
                        f"{private} is private: use a public name",
                    )


def _private_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            return
        case ast.Attribute(attr=attribute) if _PRIVATE.fullmatch(attribute):
            yield attribute
        case ast.ImportFrom(module=str(module), names=names) if _is_of_app(module):
            parts = [*module.split("."), *(alias.name for alias in names)]
            yield from filter(_PRIVATE.fullmatch, parts)
        case ast.Import(names=names):
            for alias in filter(lambda alias: _is_of_app(alias.name), names):
                yield from filter(_PRIVATE.fullmatch, alias.name.split("."))
        case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called)) if called in _PATCHES:
            # For example monkeypatch.setattr(module, "_name", value).
            for argument in node.args[1:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from filter(_PRIVATE.fullmatch, [argument.value])
        case ast.Constant(value=str(text)):
            yield from _DOTTED.findall(text)
        case _:
            return


def _is_of_app(module: str) -> bool:
    return module == "app" or module.startswith("app.")


def main() -> int:
    violations = list(findings())
    for path, line, rule in violations:
        print(f"{path.relative_to(ROOT)}:{line}: {rule}")  # noqa: T201 - a command's output
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
