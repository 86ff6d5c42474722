"""GenEval's Mask2Former, in the transformers library and with the official weights."""
