"""WISE."""
