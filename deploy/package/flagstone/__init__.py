"""Flagstone as a distribution: `app/`, `sql/` and `migrations/` beside each other.

They are inside this package, because a package `app` in site-packages would overwrite that of
another distribution, or be overwritten by it.
"""
