"""Say changes in plain English: of entries, definitions of flags, and environments."""
