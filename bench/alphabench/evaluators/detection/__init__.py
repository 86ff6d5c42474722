"""Evaluators that find objects and read their colours."""
