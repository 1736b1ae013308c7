"""The palette: it leads to a flag, setting, segment or page by a part of its name."""
