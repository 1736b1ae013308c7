"""Pages of people, groups, roles, grants and projects: who may do what where, and why."""
