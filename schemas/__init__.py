"""The contract of driftline: every event, the model spec, the table of topics and the codec.

Layout: ``base`` (how strict we are), ``inbound`` (what serving systems produce), ``model_spec`` (what a model is),
``profiles`` (what profiling agents publish), ``outbound`` (what people and pipelines subscribe to), ``topics`` (where
each travels), ``codec`` (bytes and CloudEvents headers), ``export`` (JSON Schemas), ``examples/`` (a golden file each).
"""
