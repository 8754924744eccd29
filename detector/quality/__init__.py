"""Rates of bad rows: faults of the data and of the service, beside the drifts.

- ``rates``: what a rate is, and how it is read from a profile.
- ``counters``: counting rows for rates that no bin tells.
- ``checks``: the rates of a spec. To add one: a function there and a row in its registry.
- ``watch``: the rates of one family through evidence, tiers and incidents.
"""
