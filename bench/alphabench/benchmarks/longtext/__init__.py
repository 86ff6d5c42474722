"""LongText-Bench."""
