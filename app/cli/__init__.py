"""The commands of `python -m app`. `root.py` has their names, and each has a module."""
