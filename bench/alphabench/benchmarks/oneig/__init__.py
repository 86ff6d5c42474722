"""OneIG-Bench."""
