"""Processes that may end at any moment. The entry remains until the parent reads the exit code."""

from contextlib import suppress

import psutil


def has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def children_with(word: str, parent: psutil.Process) -> list[psutil.Process]:
    """Return the running children whose command has this word."""
    found = []
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):
            if word in child.cmdline():
                found.append(child)
    return found
