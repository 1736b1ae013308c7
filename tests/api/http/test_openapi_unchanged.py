"""The API that clients rely on: each operation's method, path, ID, scopes and statuses.

`openapi_operations.txt` has one operation per line. A change of the file is a change of the API.
To change it on purpose, run `python -m tests.api.http.test_openapi_unchanged` and commit it.
"""

from collections.abc import Iterator
from pathlib import Path

from app.server.routes import describe

STORED = Path(__file__).with_name("openapi_operations.txt")


def test_openapi_operations_are_unchanged() -> None:
    assert list(operations()) == STORED.read_text().splitlines(), (
        "store the change with `python -m tests.api.http.test_openapi_unchanged`"
    )


def operations() -> Iterator[str]:
    """Yield a line for each operation: method, path, ID, scopes, statuses."""
    for path, methods in sorted(describe()["paths"].items()):
        for method, operation in sorted(methods.items()):
            scopes = operation.get("x-scope", "open").replace(" ", "+")
            yield " ".join(
                (
                    method.upper(),
                    path,
                    operation["operationId"],
                    scopes,
                    *sorted(operation["responses"]),
                )
            )


if __name__ == "__main__":
    STORED.write_text("".join(f"{line}\n" for line in operations()))
