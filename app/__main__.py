"""`python -m app`: the command line."""

import os
import sys

from app.program import IS_CHECKOUT


def main() -> None:
    try:
        # Without options, `serve` and `relay` need no parser of commands, which takes 10 MB of
        # memory and a tenth of the start. With FLAGSTONE_URL the parser warns that it is not used.
        has_server = "FLAGSTONE_URL" in os.environ
        if sys.argv[1:] == ["serve"] and not has_server:
            from app.cli.serve import run  # noqa: PLC0415 - as little as possible
        elif sys.argv[1:] == ["relay"] and not has_server:
            from app.cli.serve import run_relay as run  # noqa: PLC0415 - the same
        elif sys.argv[1:] == ["probe"]:
            from app.server.probe import run  # noqa: PLC0415 - as little as possible
        else:
            from app.cli.root import run  # noqa: PLC0415 - the same
    except KeyboardInterrupt:
        # The imports take half a second.
        sys.exit(130)
    except ModuleNotFoundError as error:
        advice = "Use .venv/bin/python." if IS_CHECKOUT else "Install Flagstone again."
        sys.exit(f"error: {sys.executable} has no package {error.name}. {advice}")
    run()


if __name__ == "__main__":
    main()
