"""The shape of events: which features they have, of which types.

- ``shapes``: one record in 16 is looked at in full, and what differs from the spec is tallied beside the counts.
- ``stretch``: tallies added up until there are enough records.
- ``watch``: stretches to changes: gone, new, renamed, of another type.
"""
