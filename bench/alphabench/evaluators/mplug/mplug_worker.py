"""The official mPLUG pipeline in its own process: run by another interpreter, imports nothing of
ours.

Needs modelscope with transformers 4.x, torch, torchvision, timm, decord and what these bring. What
modelscope imports beside mPLUG for other models (fairseq, librosa ...) may be absent: a stand-in
takes its place. Reads a JSON list of requests and writes one JSON line for each, in order:

    {"image": path, "box": [left, upper, right, lower] or null, "question": text}
    {"answer": text} or {"error": text}

The first line, before any answer, is {"versions": {...}} or {"error": text}.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import json
import os
import signal
import sys
import threading
import time
import types
import warnings
from typing import TYPE_CHECKING, Any

# Old environments run this file: nothing newer than Python 3.8 in it.
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPLACEABLE = ("fairseq", "librosa", "soundfile", "torchaudio", "unicodedata2", "zhconv")
"""Imported by modelscope's OFA model on the way to mPLUG; none is used by mPLUG."""
PIPELINE = "visual_question_answering_pipeline"
KEPT: list[Any] = []
"""Definitions of operators last as long as their library object; so does this process."""
PR_SET_PDEATHSIG = 1
"""Of Linux' prctl(2)."""
LIBRARIES = ("modelscope", "transformers", "torch", "torchvision", "timm", "pillow", "numpy")


class StandIn(types.ModuleType):
    """A module in which any name is an empty class, so that `import` and `class` succeed."""

    def __getattr__(self, name: str) -> Any:
        if name.endswith("version__"):
            return "1.0.0"
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nothing else finds, among the replaceable names."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        del path, target
        if fullname.partition(".")[0] not in REPLACEABLE:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        module = StandIn(spec.name)
        vars(module)["__path__"] = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: the module answers for itself."""


def stand_in_for_torchvision_ops() -> None:
    """Lets a torchvision that was built for another torch be imported; its operators are not used.

    That is what pip brings beside a torch without CUDA. `mmdet_worker` has the same function: a
    worker is one file, because nothing of this project can be imported where it runs.
    """
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError):
        import torch

        for name in [one for one in sys.modules if one.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = vars(torch.library)["Library"]("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
        importlib.import_module("torchvision")


def versions() -> dict[str, str]:
    """Name -> version of each library that can decide an answer."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def import_pipeline() -> tuple[Any, str]:
    """The function that opens pipelines, and the name of the task."""
    warnings.simplefilter("ignore")
    sys.meta_path.append(StandIns())
    stand_in_for_torchvision_ops()
    pipelines = importlib.import_module("modelscope.pipelines")
    constants = importlib.import_module("modelscope.utils.constant")
    return pipelines.pipeline, constants.Tasks.visual_question_answering


def open_pipeline(folder: str, device: str) -> Any:
    """The official pipeline for visual question answering, as DPG-Bench's script opens it."""
    pipeline, task = import_pipeline()
    return pipeline(task, model=folder, device=device)


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow knows others that start programs; as `alphabench.images`, but for what old ones lack."""


def answers(pipeline: Any, requests: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """One reply for each request; an image stays open while requests about it follow."""
    from PIL import Image

    path: str | None = None
    whole: Any = None
    for request in requests:
        try:
            if request["image"] != path:
                whole = Image.open(request["image"], formats=FORMATS)
                whole.load()
                path = request["image"]
            box = request.get("box")
            image = whole.crop(tuple(box)) if box else whole
            answer = pipeline({"image": image, "question": request["question"]})
            yield {"answer": answer["text"]}
        except Exception as error:  # noqa: BLE001  (the boundary to the libraries)
            path = None
            yield {"error": "{}: {}".format(type(error).__name__, error)}  # noqa: UP032


def leave_with_parent() -> None:
    """Ends this process soon after its parent has gone, even in the middle of a question.

    On Linux also while it is stopped.

    `mmdet_worker` has the same function; see `stand_in_for_torchvision_ops` for why.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Answer a file of requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="the folder of the released model")
    parser.add_argument("--requests", help="JSON list")
    parser.add_argument("--answers", help="JSON lines, written as they come")
    parser.add_argument("--device", default="cpu", help="cpu or gpu, in modelscope's words")
    parser.add_argument("--probe", action="store_true", help="only see that modelscope imports")
    arguments = parser.parse_args()
    if arguments.probe:
        import_pipeline()
        importlib.import_module("modelscope.pipelines.multi_modal." + PIPELINE)
        sys.stdout.write(json.dumps(versions()) + "\n")
        return 0
    leave_with_parent()
    with open(arguments.requests, encoding="utf-8") as file:  # noqa: PTH123  (old Pythons)
        requests = json.load(file)
    with open(arguments.answers, "w", encoding="utf-8", buffering=1) as out:  # noqa: PTH123
        try:
            pipeline = open_pipeline(arguments.model, arguments.device)
        except Exception as error:  # noqa: BLE001  (the boundary to the libraries)
            out.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            return 1
        out.write(json.dumps({"versions": versions()}) + "\n")
        out.writelines(json.dumps(reply) + "\n" for reply in answers(pipeline, requests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
