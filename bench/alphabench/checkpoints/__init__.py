"""What can make an image, one kind of checkpoint a file."""
