"""CVTG-2K."""
