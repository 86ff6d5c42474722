"""mPLUG, the model that answers questions about pictures in words (Li et al., 2022).

Loads the released folder of ModelScope's `damo/mplug_visual-question-answering_coco_large_en` as it
is (`loading.load_mplug`), and answers as its pipeline does, with each picture looked at once for
all its questions. Architecture after arXiv 2205.12005; held against tensors of modelscope's code,
which is never imported.
"""
