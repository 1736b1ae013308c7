"""Backups: a dump that only its recipients can read, and that is proven by restoring it."""
