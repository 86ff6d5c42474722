"""BAGEL: one decoder with two experts that reads text and images and generates images.

Loads the released repository layout from a folder (`loading.load_bagel`) and holds the sampler:
text to image, editing, generation with chain of thought, and answering, batched over rows of
unequal length (`sampler`; `bagel_inference` offers all of it in two calls). `sampling_config` reads
the settings that a checkpoint folder may bring, `parameter_groups` names the parts that can be
trained separately. Architecture after arXiv 2505.14683; verified against tensors of the reference
code.

Not there: quantised weights, several GPUs for one model, caching of features between steps.
"""
