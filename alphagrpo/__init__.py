"""AlphaGRPO: joint GRPO on the text and the image parts of unified multimodal models.

Its reward, `dvreward`, with the holistic grade beside it; its `tasks`, `policies` and `rewards` for
the engine in `alphatrainers`; its `validation` by the harness; `recipe`, `training` and `cli` put
them together.
"""
