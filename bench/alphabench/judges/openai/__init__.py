"""Judges behind an OpenAI-compatible API."""
