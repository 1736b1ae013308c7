"""The list of flags, which is the home page, and the pages that it leads to.

`filters.py` selects and sorts, `listing.py` reads what the list shows, `views.py` prepares rows.
`actions.py` changes several flags at once, `creation.py` creates one.
"""
