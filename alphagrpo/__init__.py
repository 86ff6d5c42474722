"""AlphaGRPO: joint GRPO on the text and the image parts of unified multimodal models.

So far its reward, `dvreward`, and the holistic grade beside it; both are evaluators of the harness.
"""
