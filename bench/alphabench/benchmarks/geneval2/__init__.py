"""GenEval 2."""
