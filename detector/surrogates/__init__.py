"""Simple models that learn beside the watched one and warn early: challengers, a domain classifier, a mimic.

===================  ==============  =================================================================
surrogate            signal          what it asks
===================  ==============  =================================================================
``challenger``       concept         do models trained on recent labels gain on the production model?
``domain``           multivariate    can recent rows be told from the reference's, all features together?
``mimic``            mimic           does the model still answer what it would have answered?
===================  ==============  =================================================================

They see bounded samples (`detector.sampling`), never the stream. Each turns what it learned into a number between 0 and
1 for every row, foretold before the row is learned, and `means` turns these into evidence that their mean has risen.
"""
