"""Folders that tests read files from."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
# Real flag files and settings of other services. They are beside the checkout, not in it.
SHARED_DATA = ROOT.parent / "shared" / "data"
