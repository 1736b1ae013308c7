"""Proposals: change sets that wait for approval, and are applied later.

A proposal has the operations of a change set, with the versions that its author saw. It is tried
against the present in a dry run when it is submitted, approved and applied, by the same code that
writes change sets. So nothing stale or broken is applied.
"""
