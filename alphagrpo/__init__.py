"""AlphaGRPO: joint GRPO on the text and the image parts of unified multimodal models.

So far its reward, `dvreward`, with the holistic grade beside it (both are evaluators of the
harness), and `refinement`, which rectifies rewards of refined images. Nothing trains yet.
"""
