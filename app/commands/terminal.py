"""Where commands print. What they print is data: no bracket in it is markup, no :word: an emoji."""

from rich.console import Console

console = Console(markup=False, emoji=False)
# Where standard output must be a file, or a token, and nothing else.
aside = Console(stderr=True, markup=False, emoji=False)
