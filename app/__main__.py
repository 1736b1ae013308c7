"""`python -m app`: the command line."""

import sys

if __name__ == "__main__":
    try:
        from app.cli import cli
        from app.cli.help import PROGRAM
    except KeyboardInterrupt:
        # The imports take half a second.
        sys.exit(130)
    except ModuleNotFoundError as error:
        sys.exit(f"error: {sys.executable} has no package {error.name}. Use .venv/bin/python.")
    cli(prog_name=PROGRAM)
