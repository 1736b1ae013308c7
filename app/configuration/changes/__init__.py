"""Change sets: one transaction, one revision, and what each key was before and is after.

Nothing else writes configurations, so whatever is true now can be told from the history.
"""
