"""Measurements: speed, memory, detection quality, false alarms. Each prints a table for people, and ``--json``."""
