"""The name of this program for its user, and the way to start it again as a child process.

In a checkout a user calls `python -m app`. An installed distribution has the command `flagstone`.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file()
CHECKOUT_PROGRAM = "python -m app"
PROGRAM = CHECKOUT_PROGRAM if IS_CHECKOUT else "flagstone"


def program_path() -> str:
    """Return the program as a shell calls it in the current folder: by its path, if need be."""
    python = Path(sys.executable)
    path = python if IS_CHECKOUT else python.with_name(PROGRAM)
    if shutil.which(PROGRAM) == str(path):
        return PROGRAM
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.quote(str(shown)) + (" -m app" if IS_CHECKOUT else "")


def python_path() -> str:
    """Return PYTHONPATH for a child process, which imports what this process imports.

    Give it to `python -P`. Otherwise the child would import the `app` of its working folder.
    """
    return os.pathsep.join(map(os.path.abspath, sys.path))
