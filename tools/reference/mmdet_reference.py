"""Runs mmdet's own Mask2Former, for whoever wants to hold another implementation against it.

    PYTHON tools/reference/mmdet_reference.py make --out weights.pth [--tiny] [--seed 0]
    PYTHON tools/reference/mmdet_reference.py detect --weights FILE --out DIR [--tiny] IMAGE...
    PYTHON tools/reference/mmdet_reference.py store --out official_probe.npz

PYTHON is an interpreter with mmdet 2.x or 3.x; nothing of this project is needed there. `make`
saves random weights in the official Swin-S configuration as a checkpoint of that release; they are
drawn from the tensors' names, so that both releases get the same numbers. `detect` writes for each
image labels, scores, boxes and masks of all 100 candidates, which `inference_detector` finds in the
file; with `--double` the network computes in float64.
`store` writes what the self-test (2.28.2) and the test suite (3.3.0) compare with: names and shapes
of the tiny network's tensors, and what it finds in a few arrays. The numbers themselves follow from
the names, see `mmdet_frozen.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

DETECTION = pathlib.Path(__file__).parents[2] / "bench/alphabench/evaluators/detection/mmdet"
WORKER, FROZEN = "mmdet_worker.py", "frozen.py"
SPREAD = 6.0
"""Deviation of the mask logits over places and queries that `settle` brings about."""
STORED_ABOVE = 0.1
"""Scores of the objects that `store` keeps."""


def open_model(checkpoint: str | None, *, tiny: bool) -> tuple[Any, Any, int]:
    """(model, inference_detector, release) of whichever mmdet is installed."""
    worker = _load(WORKER)
    stands_in = worker.stand_in_for_compiled_ops()
    worker.trust_checkpoints()
    import mmdet
    from mmdet.apis import inference_detector, init_detector

    if stands_in:
        worker.use_python_attention()
    release = int(mmdet.__version__.split(".")[0])
    folder = pathlib.Path(mmdet.__file__).parent
    path = next(folder / one for one in worker.CONFIGS if (folder / one).is_file())
    config = official_config(path, release)
    if tiny:
        shrink(config, release)
    extra = {"palette": "coco"} if release >= 3 else {}
    return init_detector(config, checkpoint, device="cpu", **extra), inference_detector, release


def official_config(path: pathlib.Path, release: int) -> Any:
    """Without the download of a backbone's weights, which the checkpoint has."""
    if release >= 3:
        from mmengine.config import Config
    else:
        from mmcv import Config
    config = Config.fromfile(str(path))
    config.model.backbone.init_cfg = None
    return config


def shrink(config: Any, release: int) -> None:
    """The same network, three orders of magnitude smaller."""
    config.model.backbone.update(
        embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4], window_size=4
    )
    head = config.model.panoptic_head
    head.update(in_channels=[8, 16, 32, 64], feat_channels=32, out_channels=32, num_queries=20)
    head.positional_encoding.num_feats = 16
    pixel = head.pixel_decoder
    pixel.positional_encoding.num_feats = 16
    pixel.encoder.num_layers, head.transformer_decoder.num_layers = 2, 3
    if release >= 3:
        layer, decoder = pixel.encoder.layer_cfg, head.transformer_decoder.layer_cfg
        layer.self_attn_cfg.embed_dims = layer.ffn_cfg.embed_dims = 32
        layer.ffn_cfg.feedforward_channels = 48
        decoder.self_attn_cfg.embed_dims = decoder.cross_attn_cfg.embed_dims = 32
        decoder.ffn_cfg.update(embed_dims=32, feedforward_channels=40)
        config.test_dataloader.dataset.pipeline[1].scale = _load(FROZEN).SCALE
        return
    layer, decoder = pixel.encoder.transformerlayers, head.transformer_decoder.transformerlayers
    layer.attn_cfgs.embed_dims = layer.ffn_cfgs.embed_dims = 32
    layer.ffn_cfgs.feedforward_channels = 48
    decoder.attn_cfgs.embed_dims = decoder.ffn_cfgs.embed_dims = 32
    decoder.ffn_cfgs.feedforward_channels = decoder.feedforward_channels = 40
    config.data.test.pipeline[1]["img_scale"] = _load(FROZEN).SCALE


def make(out: pathlib.Path, *, tiny: bool, seed: int) -> None:
    """Save random weights as this release saves a checkpoint."""
    import torch

    model, inference_detector, release = open_model(None, tiny=tiny)
    state, frozen = model.state_dict(), _load(FROZEN)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            values = frozen.random_tensor(frozen.name_of_3(name), tuple(tensor.shape), seed=seed)
            state[name] = torch.from_numpy(values)
    model.load_state_dict(state)
    if not tiny:
        settle(model, inference_detector)
    state = model.state_dict()
    if release >= 3:
        meta: dict[str, Any] = {"dataset_meta": {"CLASSES": tuple(model.dataset_meta["classes"])}}
    else:
        from mmdet.core import get_classes

        meta = {"CLASSES": tuple(get_classes("coco"))}
    torch.save({"meta": meta, "state_dict": state}, out)


def settle(model: Any, inference_detector: Any) -> None:
    """Centre the mask features and scale the mask logits on one image of smooth noise.

    So many random layers leave little in the features that differs from place to place, and masks
    that are all or nothing.
    """
    import torch

    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            seen[name] = output.detach()

        return hook

    head = model.panoptic_head
    convolution, last = head.pixel_decoder.mask_feature, head.mask_embed[4]
    hooks = [convolution.register_forward_hook(keep("f")), last.register_forward_hook(keep("e"))]
    coarse = np.random.RandomState(0).randint(0, 256, (5, 5, 3))
    noise = np.kron(coarse, np.ones((64, 64, 1))).astype(np.uint8)
    inference_detector(model, noise)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        features = seen["f"][0].flatten(1)
        mean = features.mean(dim=1, keepdim=True)
        logits = seen["e"].reshape(-1, features.shape[0]) @ (features - mean)
        scale = SPREAD / logits.std()
        side = torch.full_like(convolution.bias, len(mean) ** -0.5)
        convolution.bias += side - mean[:, 0]
        last.weight *= scale
        last.bias.mul_(scale).sub_(SPREAD * side)


def detect(weights: str, images: list[str], out: pathlib.Path, *, tiny: bool, double: bool) -> None:
    """One .npz for each image, named after it, and the seconds that mmdet took."""
    rows_of = _load(WORKER).rows_of
    model, inference_detector, _ = open_model(weights, tiny=tiny)
    if double:
        model.double()
        model.backbone.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    for image in images:
        began = time.process_time()
        rows = rows_of(inference_detector(model, image))
        seconds = time.process_time() - began
        masks = np.stack([np.asarray(row[3], dtype=bool) for row in rows])
        np.savez_compressed(
            out / f"{pathlib.Path(image).name}.npz",
            labels=np.array([int(row[0]) for row in rows]),
            scores=np.array([float(row[1]) for row in rows], dtype=np.float32),
            boxes=np.array([row[2][:4] for row in rows], dtype=np.float32),
            masks=np.packbits(masks.reshape(len(rows), -1), axis=1),
            size=np.array(masks.shape[1:]),
            seconds=np.array(seconds),
        )
        print(f"{image}: {seconds:.1f} s", flush=True)


def store(out: pathlib.Path) -> None:
    """The tiny network's tensors by name, and its findings above `STORED_ABOVE`."""
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / "weights.pth"
        make(weights, tiny=True, seed=0)
        model, inference_detector, release = open_model(str(weights), tiny=True)
    state = model.state_dict()
    found: dict[str, Any] = {
        "release": np.array(release),
        "names": np.array(list(state)),
        "shapes": np.array([" ".join(map(str, tensor.shape)) for tensor in state.values()]),
        "position_index": next(
            tensor.numpy() for name, tensor in state.items() if name.endswith("position_index")
        ),
    }
    rows_of, frozen = _load(WORKER).rows_of, _load(FROZEN)
    for index in range(len(frozen.SIZES)):
        bgr = np.ascontiguousarray(frozen.image(index)[:, :, ::-1])
        rows = [row for row in rows_of(inference_detector(model, bgr)) if row[1] > STORED_ABOVE]
        masks = np.stack([np.asarray(row[3], dtype=bool) for row in rows])
        found[f"labels{index}"] = np.array([int(row[0]) for row in rows], dtype=np.int16)
        found[f"scores{index}"] = np.array([float(row[1]) for row in rows], dtype=np.float32)
        found[f"boxes{index}"] = np.array([row[2][:4] for row in rows], dtype=np.float32)
        found[f"masks{index}"] = np.packbits(masks.reshape(len(rows), -1), axis=1)
    np.savez_compressed(out, **found)


def _load(file: str) -> Any:
    """A module of the project, by its path: it needs nothing else of the project."""
    found = importlib.util.spec_from_file_location("alphabench_" + file[:-3], DETECTION / file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker = verbs.add_parser("make")
    maker.add_argument("--out", type=pathlib.Path, required=True)
    maker.add_argument("--seed", type=int, default=0)
    detector = verbs.add_parser("detect")
    detector.add_argument("--weights", required=True)
    detector.add_argument("--out", type=pathlib.Path, required=True)
    detector.add_argument("--double", action="store_true")
    detector.add_argument("images", nargs="+")
    verbs.add_parser("store").add_argument("--out", type=pathlib.Path, required=True)
    for verb in (maker, detector):
        verb.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    if arguments.verb == "make":
        make(arguments.out, tiny=arguments.tiny, seed=arguments.seed)
    elif arguments.verb == "store":
        store(arguments.out)
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        detect(
            arguments.weights,
            arguments.images,
            arguments.out,
            tiny=arguments.tiny,
            double=arguments.double,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
