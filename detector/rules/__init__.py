"""Business rules on columns.

- ``values``: what a part of an expression is on n rows, and three-valued truth.
- ``evaluate``: an expression on columns.
- ``book``: the rules of a spec on rows: which are broken, which hold, of which nothing can be said.
"""
