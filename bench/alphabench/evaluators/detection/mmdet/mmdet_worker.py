"""The official detector in its own process: run by another interpreter, imports nothing of ours.

Needs the standard library, numpy and, for the default backend, mmdet 2.x or 3.x. Speaks frames over
one inherited socket: 4 bytes of length (big-endian), then a JSON object. Standard output belongs to
the libraries, which print there.

    -> {"width", "height", "pixels": base64 of RGB bytes}, or {"file": path}, which mmdet reads
    <- {"objects": [{"label", "score", "box", "mask": base64 of zlib of packed bits, or null}]}
    <- {"error": "..."} when the backend raised; the process lives on

The first frame, sent unasked, is {"ready": true, "names": [...], "versions": {...}} or {"error"}.
A backend is a function of the options that returns (names by label, detect), where detect takes an
RGB array (H, W, 3) or a path and returns rows (label, score, box, mask or None).

mmdet's checkpoints are pickles; loading one can run code. The caller asks the user's consent.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import threading
import time
import types
import zlib
from typing import TYPE_CHECKING, Any

# Python 3.8 must be able to run this file: mmdet 2.x lives in old environments.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Row = tuple[Any, Any, Any, Any]
    """label, score, box (x1, y1, x2, y2), mask (H, W) or None."""
    Detect = Callable[[Any], Sequence[Row]]

HEADER = struct.Struct(">I")
CONFIGS = (
    ".mim/configs/mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco.py",
    ".mim/configs/mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py",
    "../configs/mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py",
)
"""Where mmdet 3.x, an installed 2.x and a 2.x checkout keep the official configuration."""
PR_SET_PDEATHSIG = 1
"""Of Linux' prctl(2)."""
REFERENCED: list[Any] = []
"""Definitions of operators last as long as their library object; so does this process."""
LIBRARIES = (
    "mmdet",
    "onedl-mmdetection",
    "mmcv",
    "mmcv-full",
    "mmcv-lite",
    "onedl-mmcv",
    "mmengine",
    "onedl-mmengine",
    "torch",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
)
"""What can decide a result, by the names of the packages; onedl's modules have mmdet's names."""


def versions() -> dict[str, str]:
    """Name -> version of each library that can decide a result, without importing any."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def open_mmdet(options: dict[str, Any]) -> tuple[list[str], Detect]:
    """The default backend: mmdet's own init_detector and inference_detector, one image a call."""
    import numpy as np

    mmdet, inference_detector, init_detector = import_mmdet()
    trust_checkpoints()
    folder = pathlib.Path(mmdet.__file__).parent
    config = options.get("config") or next(
        (str(folder / one) for one in CONFIGS if (folder / one).is_file()), None
    )
    if config is None:
        raise FileNotFoundError("mmdet's own configuration was not found; name one")
    extra = {"palette": "coco"} if int(mmdet.__version__.split(".")[0]) >= 3 else {}
    model = init_detector(config, options["checkpoint"], device=options["device"], **extra)
    check_shapes(model.state_dict(), options["checkpoint"])
    check_values(model.state_dict())
    meta = getattr(model, "dataset_meta", None) or {"classes": getattr(model, "CLASSES", ())}

    def detect(image: Any) -> Sequence[Row]:
        is_path = isinstance(image, str)
        bgr = image if is_path else np.ascontiguousarray(image[:, :, ::-1])
        return rows_of(inference_detector(model, bgr))

    return list(meta["classes"]), detect


def check_shapes(weights: Mapping[str, Any], checkpoint: str) -> None:
    """Refuses weights that mmdet would load in part, keeping random numbers for the rest."""
    import torch

    content = torch.load(checkpoint, map_location="cpu")
    held = {
        name[7:] if name.startswith("module.") else name: tuple(tensor.shape)  # noqa: FURB188  (3.8)
        for name, tensor in content.get("state_dict", content).items()
    }
    missing = [name for name in weights if name not in held]
    if missing:
        raise ValueError(
            f"the checkpoint has no {missing[0]!r} and {len(missing) - 1} more of the model's "
            "tensors; it is of another model, or of another release of mmdet"
        )
    for name, tensor in weights.items():
        if held[name] != tuple(tensor.shape):
            raise ValueError(
                f"the checkpoint's {name!r} is {held[name]} and the model's {tuple(tensor.shape)}; "
                "it is of another model"
            )


def check_values(weights: Mapping[str, Any]) -> None:
    """Refuses what no training leaves: a matrix of one number, a norm of 0, what is not finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"the tensor {name!r} holds values that are not finite")
        if tensor.dim() > 1 and tensor.numel() > 1 and tensor.min() == tensor.max():
            raise ValueError(f"the tensor {name!r} is {float(tensor.min()):g} throughout")
        if tensor.dim() == 1 and name.endswith(".weight") and not tensor.any():
            raise ValueError(f"the tensor {name!r} is 0 throughout")


def import_mmdet() -> tuple[Any, Any, Any]:
    """(mmdet, inference_detector, init_detector), whether or not operators were compiled."""
    stand_in_for_torchvision_ops()
    stands_in = stand_in_for_compiled_ops()
    import mmdet
    from mmdet.apis import inference_detector, init_detector

    if stands_in:
        use_python_attention()
    return mmdet, inference_detector, init_detector


def rows_of(result: Any) -> list[Row]:
    """(label, score, box, mask) rows from what either generation of mmdet returns."""
    if hasattr(result, "pred_instances"):
        found = result.pred_instances.cpu().numpy()
        masks = found.masks if "masks" in found else [None] * len(found.labels)
        columns = (found.labels, found.scores, found.bboxes, masks)
        return list(zip(*columns))  # noqa: B905  (Python 3.8)
    boxes, masks = result if isinstance(result, tuple) else (result, None)
    masks = masks[0] if isinstance(masks, tuple) else masks
    return [
        (label, row[4], row[:4], None if masks is None else masks[label][position])
        for label, of_class in enumerate(boxes)
        for position, row in enumerate(of_class)
    ]


def stand_in_for_compiled_ops() -> bool:
    """Lets mmcv-lite, which ships no compiled operators, be imported; True if it had to.

    Mask2Former needs none of them: its attention has a path in Python.
    """
    try:
        importlib.import_module("mmcv._ext")
    except ImportError:
        module = NotCompiled("mmcv._ext")
        module.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
        sys.modules["mmcv._ext"] = module
        return True
    return False


def stand_in_for_torchvision_ops() -> None:
    """Lets a torchvision that was built for another torch be imported; its operators are not used.

    That is what pip brings beside a torch without CUDA. `mplug_worker` has the same function: a
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
        REFERENCED.append(library)
        importlib.import_module("torchvision")


class NotCompiled(types.ModuleType):
    """A module whose every function says that it was not compiled."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*_: Any, **__: Any) -> None:
            raise NotImplementedError(f"the mmcv operator {name!r} is not compiled here")

        return operator


def use_python_attention() -> None:
    """On a GPU mmcv would call the compiled operator that is not there."""
    try:
        attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    except ImportError:
        return
    vars(attention)["IS_CUDA_AVAILABLE"] = False


def trust_checkpoints() -> None:
    """Newer torch refuses what OpenMMLab pickles beside the weights; the user has consented."""
    import functools
    import inspect

    import torch

    # Before 1.13 nothing was refused, and there is no such argument.
    if "weights_only" in inspect.signature(torch.load).parameters:
        vars(torch)["load"] = functools.partial(torch.load, weights_only=False)


def objects_of(rows: Sequence[Row], min_score: float) -> list[dict[str, Any]]:
    """Rows as JSON values; scores that are no numbers stay, so that the caller sees them."""
    import numpy as np

    objects = []
    for label, score, box, mask in rows:
        if float(score) <= min_score:
            continue
        packed = None
        if mask is not None:
            bits = np.packbits(np.asarray(mask, dtype=bool))
            packed = base64.b64encode(zlib.compress(bits.tobytes(), 1)).decode("ascii")
        objects.append(
            {
                "label": int(label),
                "score": float(score),
                "box": [float(side) for side in box],
                "mask": packed,
            }
        )
    return objects


def answer(detect: Detect, request: dict[str, Any], min_score: float) -> dict[str, Any]:
    """The reply to one request; an error of the backend is a reply too."""
    import numpy as np

    try:
        if "file" in request:
            return {"objects": objects_of(detect(request["file"]), min_score)}
        size = (request["height"], request["width"], 3)
        pixels = base64.b64decode(request["pixels"])
        rgb = np.frombuffer(pixels, dtype=np.uint8).reshape(size)
        return {"objects": objects_of(detect(rgb), min_score)}
    except Exception as error:  # noqa: BLE001  (the boundary to the libraries)
        return {"error": f"{type(error).__name__}: {error}"}


def receive(channel: socket.socket) -> Any:
    """The next frame, or None when the other side has gone."""
    header = exactly(channel, HEADER.size)
    if header is None:
        return None
    body = exactly(channel, HEADER.unpack(header)[0])
    return None if body is None else json.loads(body.decode("utf-8"))


def exactly(channel: socket.socket, count: int) -> bytes | None:
    """`count` bytes, or None at the end of the stream."""
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def send(channel: socket.socket, content: dict[str, Any]) -> None:
    """One frame."""
    body = json.dumps(content).encode("utf-8")
    channel.sendall(HEADER.pack(len(body)) + body)


def leave_with_parent() -> None:
    """Ends this process soon after its parent has gone, even in the middle of a detection.

    On Linux also while it is stopped.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def load_backend(name: str, options: dict[str, Any]) -> tuple[list[str], Detect]:
    """(names, detect) of the backend `module:function`."""
    if not name:
        return open_mmdet(options)
    module, _, function = name.partition(":")
    opened: tuple[list[str], Detect] = getattr(importlib.import_module(module), function)(options)
    return opened


def serve(channel: socket.socket, backend: str, options: dict[str, Any]) -> int:
    """Answers requests until the other side goes."""
    try:
        names, detect = load_backend(backend, options)
    except Exception as error:  # noqa: BLE001  (the boundary to the libraries)
        send(channel, {"error": f"{type(error).__name__}: {error}"})
        return 1
    send(channel, {"ready": True, "names": list(names), "versions": versions()})
    while True:
        request = receive(channel)
        if request is None:
            return 0
        send(channel, answer(detect, request, options["min_score"]))


def main() -> int:
    """Serves one parent, or prints the versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", action="store_true", help="print the versions and leave")
    parser.add_argument("--probe", action="store_true", help="import mmdet and leave")
    parser.add_argument("--fd", type=int, help="the inherited socket")
    parser.add_argument("--backend", default="", help="module:function instead of mmdet")
    parser.add_argument("--options", default="{}", help="JSON object for the backend")
    arguments = parser.parse_args()
    if arguments.versions:
        sys.stdout.write(json.dumps(versions()) + "\n")
        return 0
    # Python puts this file's own folder first, where a module of ours is called mmdet.
    sys.path[0] = os.getcwd()  # noqa: PTH109  (a string is wanted)
    if arguments.probe:
        import_mmdet()
        return 0
    leave_with_parent()
    return serve(
        socket.socket(fileno=arguments.fd), arguments.backend, json.loads(arguments.options)
    )


if __name__ == "__main__":
    sys.exit(main())
