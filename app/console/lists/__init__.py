"""The page of a list: its values, a search of one, changes of a few, an upload and a download."""
