"""Flags, looked into: what one would give to whom, now or then, and why."""
