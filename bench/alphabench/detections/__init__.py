"""Detected objects and the rules that read them. Knows no detector."""
