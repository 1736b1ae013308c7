"""Who may call: tokens, their scopes and environments, and the guard before every handler."""
