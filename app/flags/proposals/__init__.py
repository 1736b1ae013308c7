"""Previews of proposals for their reviewers, and evaluations in the proposed state."""
