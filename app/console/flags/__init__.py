"""The list of flags, which is the home page, and the pages that it leads to.

`filters.py` selects and sorts, `listing.py` reads what the list shows, `columns.py` the cells of
each environment, `views.py` prepares the rows. `actions.py` changes several flags at once, after
`bulk.py` has planned it. `creation.py` creates a flag.
"""
