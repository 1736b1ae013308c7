"""The console: the web pages on which people read and change what the API serves.

Start at `routes.py`, which lists the pages. Each folder is a group of pages: `handlers.py` answers
requests, `views.py` prepares plain data for the templates, `forms.py` reads what a page posts.

first_request.py  the import of everything else, at the first request
pages.py       the wrapper of each page: its headers, and errors as pages
rendering.py   pages as answers, and the frame around each (navigation, environment, moment)
templating.py  the compiled templates, and the functions that they call
state.py       the environment that a page shows, now or in the past
forms.py       reading of posted forms, and errors beside their fields
scripts/       our JavaScript: small modules that read data attributes, sent as one file
saving.py      saving of what a page edits, as a change set with author and message
entry_*.py     lists, drafts and conflicts of entries, for settings and segments
"""
