"""`python -m app`: the command line."""

from app.cli import cli
from app.cli.help import PROGRAM

if __name__ == "__main__":
    cli(prog_name=PROGRAM)
