"""UniGenBench++."""
