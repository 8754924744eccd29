"""Expressions over a row, as ``loan_amount <= 5 * income``: text to a checked tree, never to Python code.

``grammar`` reads the text into nodes (``tree``); ``checking`` finds the fields and the types. What they mean on columns
is said in ``detector.rules``. Every fault is an `tree.ExpressionError` that shows where it is.
"""
