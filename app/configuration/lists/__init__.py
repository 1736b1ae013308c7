"""Large lists: uploads and changes of their values, and reading them.

`handlers.py` has the URLs. An upload is staged in a store of its own (`staging.py`), and becomes
the list in one transaction (`service.py`). `list_data/` brings lists into memory.
"""
