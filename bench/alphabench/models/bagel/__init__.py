"""BAGEL: one decoder, two experts, for words, pictures to understand and pictures to draw.

Loads the released repository layout from a folder (`loading.load_bagel`) and holds the sampler:
text-to-image, editing, drawing after thinking, and answering, batched over rows of unequal length
(`sampling`). Architecture after arXiv 2505.14683; held against tensors of the reference code.

Not there yet: no kind of checkpoint that `--ckpt` knows (no registry line, no presets, no prompts
of think mode), nothing from the hub, no check of memory before loading, no LoRA, no groups to
freeze. Stored keys are concatenated anew at every step and layer.
"""
