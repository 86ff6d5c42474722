"""DPG-Bench."""
