"""DPG-Bench's mPLUG, in PyTorch and in upstream's own pipeline."""
