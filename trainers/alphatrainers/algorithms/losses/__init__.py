"""Losses of the image part and of the text part: pure functions of tensors and floats.

Each gives one value a sample or a token; `reduction` makes the mean of them, by counts that may be
those of a whole accumulation window. They know no model, no optimizer and no trajectory.
"""
