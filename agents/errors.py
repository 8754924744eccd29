"""Errors for the person who runs driftline: one line that says what is wrong and what to do about it."""

from __future__ import annotations


class OperatorError(Exception):
    """Something outside the program must change; the command line prints the message alone, without a traceback."""


class SettingsError(OperatorError):
    """A setting is missing, wrong or misspelt."""


class BrokerError(OperatorError):
    """No broker answers, or it refuses what the worker needs."""


class TopicError(OperatorError):
    """A topic is missing or is not as the table of topics wants it."""


class DeliveryError(Exception):
    """A record was not acknowledged in time or was refused; the worker must stop and be started again."""


class StuckError(Exception):
    """Something that should move does not; the worker must end and be started again."""


class PartitionsLostError(Exception):
    """The partitions have moved to another generation: drop the work."""
