"""`python -m app.scripts NAME`: run a script of this folder, or list the scripts without NAME."""

import runpy
import sys
from pkgutil import iter_modules

import app.scripts
from app.errors import NotFound
from app.scripts import foreseen_errors


def main() -> None:
    names = sorted(m.name for m in iter_modules(app.scripts.__path__) if m.name != "__main__")
    if len(sys.argv) == 1:
        print("\n".join(names))  # noqa: T201
        return
    name = sys.argv.pop(1)
    if name not in names:
        raise NotFound(
            "script_unknown", f"There is no script {name!r}; there are {', '.join(names)}."
        )
    runpy.run_module(f"app.scripts.{name}", run_name="__main__", alter_sys=True)


with foreseen_errors():
    main()
