"""GenEval's detector as mmdet runs it, in a process of its own."""
