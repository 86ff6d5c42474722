"""What can answer a question about images."""
