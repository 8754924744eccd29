"""The pure core: what is counted, compared and decided. No clock, no socket, no logger, no hidden randomness."""
