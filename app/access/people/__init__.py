"""People: who signs in with a provider, and the roles, grants and projects that give them rights.

`models.py` has the rows, and `signatures.py` their MACs. `rights.py` turns grants into rights.
`directory.py` holds both in memory. `sign_in.py` signs people in; the other modules administer.
"""
