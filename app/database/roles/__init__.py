"""PostgreSQL roles: their rights, how they are provisioned, and how they are checked."""
