"""Relays: instances without a database, which follow another instance over HTTP.

`feed.py` is the side of the upstream: every instance can be one, also a relay. `client.py` calls
it with limits. `source.py` and `credentials.py` keep snapshots and tokens up to date, with the
shapes of `protocol.py`. `updates.py` turns updates into snapshots. `usage.py` forwards counts of
evaluations. `path.py` finds circles. `report.py` and `status_page.py` show the state of a relay.
`refusals.py` refuses what only the upstream can do.
"""
