"""The database schema: who changed it, and whether it is as migrated."""
