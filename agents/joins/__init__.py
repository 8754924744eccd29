"""The join: labels that come late find their predictions by the id.

- ``forwarding``: profiling agents forward what must be joined to the topic ``joins``, partitioned by a hash of the id
  (``records`` says how it is written), so that a prediction and its label meet in one partition.
- ``matching``: what a record of that topic and what waits under its id make together. Pure functions.
- ``store``: what waits, on the local disk (RocksDB), one store for each partition of ``joins``.
- ``joiner``: runs of ``joins`` in, outcome rows out. They are counted as all other rows are: in the running total of
  the partition of ``joins`` that they come from.
- ``labelled``: labels and predictions to the columns of outcome rows.

The topic is the changelog of the stores: whoever reads it from its beginning has the same store, and counts the same.
"""
