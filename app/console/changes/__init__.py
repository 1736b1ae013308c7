"""The history of an environment: its change sets, reverts, restores, and the history of a key."""
