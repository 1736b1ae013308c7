"""`python -m app`: the command line."""

import os
import sys

if __name__ == "__main__":
    try:
        # `serve` alone needs no parser of commands, which takes 10 MB of memory and a tenth of the
        # start. With FLAGSTONE_URL the parser warns that the variable is not used.
        if sys.argv[1:] == ["serve"] and "FLAGSTONE_URL" not in os.environ:
            from app.cli.serve import run
        else:
            from app.cli.root import run
    except KeyboardInterrupt:
        # The imports take half a second.
        sys.exit(130)
    except ModuleNotFoundError as error:
        sys.exit(f"error: {sys.executable} has no package {error.name}. Use .venv/bin/python.")
    run()
