"""AlphaGRPO: joint GRPO on the text and the image parts of unified multimodal models.

Nothing is here yet; the harness (`alphabench`) came first.
"""
