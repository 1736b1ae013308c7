"""Backups: dumped, encrypted for a key of another host, verified by restoring, and restored.

A backup is a folder that gets its name when all of it is on the disk. `data.age` is the output of
pg_dump, encrypted while it was written. `manifest.json` is signed and describes the content. The
identity that opens the data is not on this host, so the host cannot read its own backups.
"""
