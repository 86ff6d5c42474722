"""Kills processes and breaks judges on purpose."""
