"""Files of model weights: finding, hashing, sizing, strict loading. Knows no model code."""
