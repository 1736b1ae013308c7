"""Import and export of an environment, with a look at the effect before an import."""
