"""`python -m app`: the command line."""

from app.cli import cli
from app.scripts import foreseen_errors

if __name__ == "__main__":
    with foreseen_errors():
        cli()
