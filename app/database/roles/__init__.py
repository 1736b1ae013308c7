"""PostgreSQL roles: what each may do, how they are made and checked."""
