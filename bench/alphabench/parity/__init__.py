"""Comparison of our scorers with upstream's own pipelines, in environments of their own."""
