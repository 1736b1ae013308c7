"""Settings and secrets: a tree by prefix, and the page of one entry.

typed_value.py   a value without a schema, as a type and a text
value_form.py    the form of a value, from its JSON Schema
value_fields.py  its fields: single values and lists
value_reader.py  the value of a posted form
forms.py         all that a person has typed on the page of an entry
writes.py        the draft, its save, and conflicts
actions.py       deletions, renames, copies, reveals
"""
