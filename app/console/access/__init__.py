"""Pages about access: tokens, sessions and the access log."""
