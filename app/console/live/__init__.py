"""Live updates: pages hear of changes that others make while they are open."""
