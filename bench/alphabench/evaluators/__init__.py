"""What can examine an image."""
