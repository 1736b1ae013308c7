"""Snapshots: all that one environment needs to answer, in memory, immutable, replaced whole."""
