"""`flagstone` and `python -m flagstone`: the same as `python -m app` in a checkout."""

import sys
from pathlib import Path


def main() -> None:
    root = Path(__file__).parent
    # An editable installation has `app/` on the path already.
    if (root / "app").is_dir():
        sys.path.insert(0, str(root))
    from app.__main__ import main as run  # noqa: PLC0415 - from the path above

    run()


if __name__ == "__main__":
    main()
