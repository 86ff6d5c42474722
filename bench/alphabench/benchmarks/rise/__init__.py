"""RISEBench, edits that need reasoning."""
