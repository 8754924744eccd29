"""The demo: a delay model trained in winter meets spring and summer, watched by a real worker."""
