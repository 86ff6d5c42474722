"""The rules of each benchmark, one file each."""
