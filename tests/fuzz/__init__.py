"""Fuzzing of what reads foreign text: events, expressions, spec files. ``make fuzz`` looks for new findings."""
