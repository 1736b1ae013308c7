"""Sessions of the console: people who are signed in with a cookie.

A session is a row, and its secret is in the cookie alone. It never has more rights than the token
or the one-time link that began it, and it ends with that token.

guard.py        runs before each page: same origin, session, scopes, environment
directory.py    the sessions in memory; `access/directory.py` reads them with the tokens
service.py      begin, list and end sessions, in the caller's transaction
codes.py        the codes of one-time links
cookie.py       the cookie, and the addresses to which a sign-in may lead
same_origin.py  refuses requests that other sites cause
mac.py          binds a row to its secret and its rights
"""
