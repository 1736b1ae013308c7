"""JSON Schemas of values: a value that its schema makes costly is checked in a separate process."""
