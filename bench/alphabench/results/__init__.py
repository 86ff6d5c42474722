"""What evaluations return: the run with its numbers, verdicts and images, as objects and frames."""
