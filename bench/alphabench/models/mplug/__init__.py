"""mPLUG, a model for visual question answering (Li et al., 2022).

Loads the released folder of ModelScope's `damo/mplug_visual-question-answering_coco_large_en` as it
is (`loading.load_mplug`) and answers as its pipeline does; an image is encoded once for all its
questions. Architecture after arXiv 2205.12005; verified against tensors of modelscope's code, which
is never imported.
"""
