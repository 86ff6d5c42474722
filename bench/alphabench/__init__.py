"""AlphaBench: one harness for benchmarks of image generators and editors."""
