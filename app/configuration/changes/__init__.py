"""Change sets: one transaction and one revision, with each key before and after.

Nothing else writes configurations, so the history explains the current state.
"""
