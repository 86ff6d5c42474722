"""Janus' inference, on the class of the transformers library."""
