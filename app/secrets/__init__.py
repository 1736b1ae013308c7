"""Secrets at rest: the data keys of environments, and what seals and opens values with them."""
