"""Proposals: the inbox, the page on which one is reviewed, and its edit."""
