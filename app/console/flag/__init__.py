"""The page of one flag: switch, variants, targeting, pending changes, conflicts.

The editor is one form. Its fields are a `FlagDraft` (`draft.py`), named by path
(`rules.0.condition.operator`; `forms.py`). `draft_reader.py` turns a definition into a draft,
`actions.py` changes it by the buttons, and `definition.py` turns it into a definition again.

`preview.py` answers the fragments beside it: who changes, contexts, guards. `use_it.py`, `usage.py`
and `dependencies.py` are the other tabs.
"""
