"""A run: its plan, its folder, its worker processes. Knows no report."""
