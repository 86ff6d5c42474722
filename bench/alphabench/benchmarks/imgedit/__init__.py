"""ImgEdit-Bench, its basic suite and its UGE suite."""
