"""Payload formats: Kafka records in, rows in columns out. One module for each format.

A format is a class with ``decode(run, source) -> DecodedRun``. Here is driftline's own, ``native``, on which the
worker's speed depends; how a run goes through it:

- ``sorting``: each record to a group of its model version, by typed decoders (``structs``) or, where an event does not
  fit them, field by field (``lenient``). Rows of unknown models are counted, a few kept as examples (``strangers``).
- ``singles`` and ``batches``: the events of a group to columns (``columns``), with ``answers``, the watched part of a
  prediction, and ``times``.
- What cannot be counted becomes a dead letter that says why.
"""

from agents.formats.decoded import DecodedRun, ModelVersion
from agents.formats.native import RunDecoder

__all__ = ["DecodedRun", "ModelVersion", "RunDecoder"]
