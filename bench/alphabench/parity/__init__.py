"""Comparison of our scorers with upstream's pipelines, in separate environments."""
