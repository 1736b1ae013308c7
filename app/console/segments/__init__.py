"""Segments: the list, the editor of a condition, its users, and a preview of who is in.

The editor is that of one rule of a flag (`flag/conditions.py`), without an outcome.

drafts.py      a segment as a draft of the editor, and back
membership.py  who is in, now and after the draft
"""
