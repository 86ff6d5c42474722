"""Times GenEval's detector and colour reader in batches against one image and one crop at a time.

    python -m tools.perf.geneval_scoring                  # random weights, widths of the real ones
    python -m tools.perf.geneval_scoring --tiny           # seconds; says nothing about real speed
    python -m tools.perf.geneval_scoring --detector DIR --clip DIR --device cuda --images 64

Both ways get the same weights and images in one process. The slow way is what the official script
does: one image through the network, all 100 candidates enlarged to the image's size, boxes found
one by one, then the crop of the best object of each class (without upstream's four loader processes
for each, which would only make it slower). Prints seconds, the ratio, and whether the objects above
the threshold and their colours are the same; ends with code 1 if they are not. On a CPU the seconds
are processor time.

Random weights find more objects than trained ones, so that the candidates which the fast way need
not enlarge are fewer than in earnest; on a CPU the networks take nearly all the time in both ways.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional

from alphabench.detections.geneval_rules import select
from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.evaluators.detection.clip_backends import Backend, find_clip
from alphabench.evaluators.detection.clip_colour import (
    class_embeddings,
    colour_logits,
    colour_sentences,
    crop_pixels,
    cut_out,
)
from alphabench.evaluators.detection.coco import geneval_names
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader, Detector
from alphabench.evaluators.detection.detector_self_test import EXPECTATIONS, _photograph
from alphabench.evaluators.detection.mask2former.hub_detector import open_mask2former

Found = list[list[tuple[DetectedObject, str]]]
"""For each image the best object of each class above the threshold, and its colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOne:
    """The official script's way, written out plainly."""

    network: Any
    processor: Any
    categories: tuple[str, ...]
    clip: Backend
    classifiers: dict[str, torch.Tensor]
    device: str

    def score(self, images: Sequence[Image.Image]) -> Found:
        return [self._score_one(image) for image in images]

    @torch.inference_mode()
    def _score_one(self, image: Image.Image) -> list[tuple[DetectedObject, str]]:
        selected = select(self._detect(image), tag="two_object")
        return [
            pair
            for category, of in selected.items()
            for pair in self._colours(image, category, of[:1])
        ]

    def _detect(self, image: Image.Image) -> list[DetectedObject]:
        inputs = self.processor(images=[image], return_tensors="pt")
        pixels = inputs["pixel_values"].to(self.device)
        outputs = self.network(pixel_values=pixels)
        masks = outputs.masks_queries_logits
        for size in (pixels.shape[-2:], (image.height, image.width)):
            masks = functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        scores = outputs.class_queries_logits[0].softmax(dim=-1)[:, :-1].flatten()
        best, pairs = scores.topk(100)
        objects = []
        for score, pair in zip(best, pairs, strict=True):
            logits = masks[0, pair // len(self.categories)]
            inside = logits > 0
            if not inside.any():
                continue
            rows, columns = torch.where(inside.any(dim=1))[0], torch.where(inside.any(dim=0))[0]
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            mean = (logits.sigmoid() * inside).sum() / (inside.sum() + 1e-6)
            objects.append(
                DetectedObject(
                    category=self.categories[int(pair) % len(self.categories)],
                    score=float(score * mean),
                    box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                    mask=inside.cpu().numpy(),
                )
            )
        return objects

    def _colours(
        self, image: Image.Image, category: str, found: Sequence[DetectedObject]
    ) -> list[tuple[DetectedObject, str]]:
        if category not in self.classifiers:
            texts = self.clip.encode_texts(colour_sentences(category))
            self.classifiers[category] = class_embeddings(texts, n_classes=len(COLOURS))
        framing = self.clip.framing
        crops = torch.stack([crop_pixels(cut_out(image, one), framing=framing) for one in found])
        classifier = self.classifiers[category].expand(len(found), -1, -1)
        best = colour_logits(self.clip.encode_images(crops), classifier).argmax(dim=1)
        return [(one, COLOURS[index]) for one, index in zip(found, best.tolist(), strict=True)]


def open_one_by_one(detector: Path, clip: Path, *, device: str) -> OneByOne:
    """The same files, loaded without our detector."""
    from transformers import (
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
    )

    network: Any = Mask2FormerForUniversalSegmentation.from_pretrained(
        detector, use_safetensors=True
    )
    labels = [network.config.id2label[index] for index in range(network.config.num_labels)]
    return OneByOne(
        network=network.to(device).eval(),
        processor=Mask2FormerImageProcessorPil.from_pretrained(detector),
        categories=geneval_names(labels, source=str(detector)),
        clip=find_clip(str(clip)).load(dtype=torch.float32, device=device),
        classifiers={},
        device=device,
    )


def score_in_batches(
    detector: Detector, colours: ColourReader, images: Sequence[Image.Image], *, batch_size: int
) -> Found:
    """The harness's way: detect together, then read all colours of the batch in one call."""
    found: Found = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        chosen = [
            [of[0] for of in select(objects, tag="two_object").values()]
            for objects in detector.detect(batch)
        ]
        queries = [
            ColourQuery(image=image, found=one)
            for image, objects in zip(batch, chosen, strict=True)
            for one in objects
        ]
        answers = iter(colours.read(queries))
        found += [[(one, next(answers)) for one in objects] for objects in chosen]
    return found


def verdict_differences(ours: Found, theirs: Found) -> list[str]:
    """What a verdict could depend on and is not the same; scores may differ by 1e-4."""
    words = []
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        names = [[(one.category, one.box, colour) for one, colour in of] for of in (mine, other)]
        if names[0] != names[1]:
            words.append(f"image {index}: {names[0]} against {names[1]}")
        elif any(abs(a.score - b.score) > 1e-4 for (a, _), (b, _) in zip(mine, other, strict=True)):
            words.append(f"image {index}: scores differ")
    return words


def random_images(count: int, side: int) -> list[Image.Image]:
    """Square cuts of the bundled photographs, each another."""
    photographs = [_photograph(one.file) for one in EXPECTATIONS]
    cuts = []
    for index in range(count):
        photograph = photographs[index % len(photographs)].rotate(7 * (index // len(photographs)))
        edge = min(photograph.size)
        cuts.append(photograph.crop((0, 0, edge, edge)).resize((side, side)))
    return cuts


def timed(work: Callable[[], Found], *, device: str) -> tuple[float, Found]:
    """Seconds and result: of processor time on a CPU, which other programs do not disturb much."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - began, found


def main() -> int:
    """Builds or takes weights, runs both ways, prints the ratio."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        detector_folder, clip_folder = arguments.detector, arguments.clip
        if detector_folder is None or clip_folder is None:
            from tests.support.tiny_models import save_clip, save_mask2former

            full_size = not arguments.tiny
            detector_folder = save_mask2former(Path(folder) / "detector", full_size=full_size)
            clip_folder = save_clip(Path(folder) / "clip", full_size=full_size)
        slow = open_one_by_one(detector_folder, clip_folder, device=arguments.device)
        options = {"detector": str(detector_folder), "clip": str(clip_folder)}
        detector, colours = open_mask2former(options, device=arguments.device)
        images = random_images(arguments.images, arguments.side)
        batch = arguments.batch_size
        ways = {
            "one by one": lambda: slow.score(images),
            "in batches": lambda: score_in_batches(detector, colours, images, batch_size=batch),
        }
        slow.score(images[:1])  # both load, and read sentences, outside the clock
        score_in_batches(detector, colours, images[:1], batch_size=batch)
        rounds = [
            {name: timed(work, device=arguments.device) for name, work in ways.items()}
            for _ in range(arguments.rounds)
        ]
    _, theirs = rounds[0]["one by one"]
    _, ours = rounds[0]["in batches"]
    differing = verdict_differences(ours, theirs)
    objects = sum(map(len, ours))
    print(f"{len(images)} images of {arguments.side} px, {objects} objects with colours")
    for one in rounds:
        print("   ".join(f"{name}: {seconds:.2f} s" for name, (seconds, _) in one.items()))
    ratios = [one["one by one"][0] / one["in batches"][0] for one in rounds]
    print(f"ratio: {statistics.median(ratios):.2f} (median)   same verdicts: {not differing}")
    for line in differing:
        print(line)
    return 1 if differing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", type=Path, help="folder of a COCO Mask2Former")
    parser.add_argument("--clip", type=Path, help="folder of a CLIP")
    parser.add_argument("--tiny", action="store_true", help="tiny random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--side", type=int, default=512, help="pixels of an image's side")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1, help="the ways take turns this often")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
