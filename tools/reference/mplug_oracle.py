"""The official mPLUG code on one folder: answers, and the logits behind them.

Run by an interpreter with modelscope, not by the project's own; see
`tools/reference/check_mplug.py`. Uses the same way into modelscope as
`bench/alphabench/evaluators/mplug/mplug_worker.py`, whose path is given, then listens to the answer
decoder while the official pipeline answers.

    python tools/reference/mplug_oracle.py --worker FILE --model DIR --requests in.json --out DIR

writes `replies.jsonl` (answer, the words of the best beam at the last step, seconds of processor
time) and, for each of the first `--logits` requests, `NNNN.npy`: the logits behind every word of
that beam.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import pathlib
import sys
import time
from typing import Any


def open_worker(path: str) -> Any:
    """The worker's module, from its file."""
    spec = importlib.util.spec_from_file_location("mplug_worker", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def allow_other_widths() -> None:
    """The official code makes CLIP's table of places 1024 wide for 14-pixel patches, always."""
    import torch

    package = "modelscope.models.multi_modal.mplug"
    modeling_mplug = importlib.import_module(f"{package}.modeling_mplug")
    clip = importlib.import_module(f"{package}.clip.clip")

    def initialise(config: Any, num_patches: int = 0) -> Any:
        del num_patches
        model = clip.load_from_config(config)
        tokens = (config.image_res // config.clip_vision_patch_size) ** 2 + 1
        table = torch.zeros(tokens, config.clip_vision_width)
        model.visual.positional_embedding = torch.nn.Parameter(table)
        return model

    modeling_mplug.MPlug._initialize_clip = staticmethod(initialise)


class Listener:
    """Keeps what the decoder said last, and one encoding of the last image."""

    def __init__(self, model: Any, *, remembers: bool) -> None:
        self.words: Any = None
        self.logits: Any = None
        model.text_decoder.register_forward_hook(self._listen, with_kwargs=True)
        if remembers:
            self._seen: Any = None
            self._encode = model.visual_encoder.visual.forward
            model.visual_encoder.visual.forward = self._remember

    def _listen(self, module: Any, inputs: Any, options: Any, output: Any) -> None:
        del module, options
        self.words, self.logits = inputs[0][0], output.logits[0]

    def _remember(self, pixels: Any, **options: Any) -> Any:
        import torch

        if self._seen is None or not torch.equal(self._seen[0], pixels):
            self._seen = (pixels, self._encode(pixels, **options))
        return self._seen[1].clone()


def main() -> int:
    """Answer the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--logits", type=int, default=0)
    parser.add_argument("--any-width", action="store_true")
    parser.add_argument("--remember-images", action="store_true", help="saves hours, not timed")
    arguments = parser.parse_args()
    import numpy as np

    worker = open_worker(arguments.worker)
    if arguments.any_width:
        worker.import_pipeline()  # as the worker does, with its stand-ins
        allow_other_widths()
    pipeline = worker.open_pipeline(arguments.model, "cpu")
    listener = Listener(pipeline.model.model, remembers=arguments.remember_images)
    out = pathlib.Path(arguments.out)
    requests = json.loads(pathlib.Path(arguments.requests).read_text(encoding="utf-8"))
    with (out / "replies.jsonl").open("w", encoding="utf-8", buffering=1) as file:
        for number, request in enumerate(requests):
            start = time.process_time()
            (reply,) = worker.answers(pipeline, [request])
            if "error" in reply:
                raise RuntimeError(reply["error"])
            seconds = time.process_time() - start
            words = listener.words.tolist()
            file.write(json.dumps({**reply, "words": words, "seconds": seconds}) + "\n")
            if number < arguments.logits:
                np.save(out / f"{number:04d}.npy", listener.logits.float().numpy())
    return 0


if __name__ == "__main__":
    sys.exit(main())
