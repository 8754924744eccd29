"""Rows broken down by fields: which segments there are, what is counted and judged in each, mix and within.

============  ==========================================================================================
``values``    the segments that rows are in, as columns, of what events say
``table``     the segments of a reference, and which of them each row is in
``counting``  rows of a block counted by segment: the hot path
``frozen``    what a reference says of each segment
``mix``       how much of a change is one of the segments' shares, and how much happened within them
``watch``     the signals of all segments: evidence, tiers, which are named
============  ==========================================================================================

Which segments there are is frozen with the reference (docs/decisions/0017).
"""
