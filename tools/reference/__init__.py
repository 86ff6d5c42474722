"""Compares our scorers and judge clients with other implementations."""
