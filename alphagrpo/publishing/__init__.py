"""Publishes what was trained: a model card, entries for leaderboards, and the upload to the hub."""
