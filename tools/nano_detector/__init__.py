"""Trains and measures the small detector of the synthetic world."""
