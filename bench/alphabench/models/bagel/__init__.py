"""BAGEL: one decoder, two experts, for words, pictures to understand and pictures to draw.

Loads the released repository layout from a folder (`loading.load_bagel`) and holds the sampler:
text-to-image, editing, drawing after thinking, and answering, batched over rows of unequal length
(`sampling`; `unified` is the whole of it in two calls). What a folder may say about its own use
stands in `recipe`, the parts that can be trained apart in `groups`. Architecture after
arXiv 2505.14683; held against tensors of the reference code.

Not there: quantised weights, several GPUs for one model, caching of features between steps.
"""
