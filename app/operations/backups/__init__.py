"""Backups: dumped and sealed for somebody else's key, proven by restoring, and put back.

A backup is a folder that gets its name once everything in it is on the disk: `data.age`, what
pg_dump wrote, encrypted while it was written; and `manifest.json`, signed, which says what must
be in it. Neither the host nor whoever steals the folder can read it; the identity is elsewhere.
"""
