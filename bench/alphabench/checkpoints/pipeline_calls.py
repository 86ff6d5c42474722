"""Calls a loaded diffusers pipeline: requests in batches, one noise generator each, checked output.

Knows no file and loads nothing.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alphabench.checkpoints.diffusers_options import PipelineSampling
from alphabench.checkpoints.editing import check_edits, image_argument, takes_edits
from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, image_of, to_rgb
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights.strict_loading import quiet

if TYPE_CHECKING:
    from PIL.Image import Image


def sampled_images(
    pipeline: Any,
    pipeline_class: str,
    sampling: PipelineSampling,
    requests: Sequence[ImageRequest],
    *,
    batch_size: int,
) -> list[Image | NotGenerated]:
    """One image for each request, in order.

    Args:
        pipeline: loaded, on its device.
        pipeline_class: its name in diffusers.
        sampling: arguments of the pipeline's call.
        requests: what to generate.
        batch_size: images in one call; a pipeline that edits gets one at a time.

    Raises:
        AlphaBenchError: the pipeline does not support a request (see `check_edits`), or made
            another size than was requested.
    """
    check_edits(requests, pipeline_class)
    results: dict[str, Image | NotGenerated] = {}
    # A pipeline that edits would treat the images of a batch as several views of one.
    batch_size = 1 if takes_edits(pipeline_class) else batch_size
    for batch in _batches(requests, batch_size):
        images = _generate_batch(pipeline, sampling, batch)
        results.update(zip((request.id for request in batch), images, strict=True))
    return [results[request.id] for request in requests]


def _generate_batch(
    pipeline: Any, sampling: PipelineSampling, batch: Sequence[ImageRequest]
) -> list[Image | NotGenerated]:
    """One call of the pipeline; all requests have the same size."""
    import numpy as np
    import torch

    parameters = inspect.signature(pipeline.__call__).parameters
    width = batch[0].width or sampling.width
    height = batch[0].height or sampling.height
    arguments = {
        "num_inference_steps": sampling.steps,
        sampling.guidance_name: sampling.guidance,
        "negative_prompt": sampling.negative_prompt,
        "max_sequence_length": sampling.max_sequence_length,
        "width": width,
        "height": height,
        # Otherwise Sana and PixArt generate at their nearest size and resize the image.
        "use_resolution_binning": False if "use_resolution_binning" in parameters else None,
        # As floats: converted to levels, NaN would be black.
        "output_type": "np" if "output_type" in parameters else None,
    }
    ignore_nan = np.errstate(invalid="ignore")  # a safety checker casts NaN to levels, too
    with quiet(), ignore_nan, _DecodedCheck(pipeline, len(batch)) as decoder_check:
        output = pipeline(
            prompt=[request.sample.prompt for request in batch],
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in batch],
            **{key: value for key, value in arguments.items() if value is not None},
            **image_argument(batch),
        )
    flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
    return [
        NotGenerated(status="failed", reason="the pipeline made NaN or infinity")
        if broken
        else NotGenerated(status="refused", reason="flagged by the checkpoint's safety checker")
        if flag
        else _sized(image, width, height)
        for image, flag, broken in zip(output.images, flagged, decoder_check.broken(), strict=True)
    ]


class _DecodedCheck(contextlib.AbstractContextManager["_DecodedCheck"]):
    """Checks the autoencoder's output for NaN and infinity, before clamping makes them white.

    What it finds stays on the device until the pipeline is done, so that nothing waits for it.
    """

    def __init__(self, pipeline: Any, n_images: int) -> None:
        self._n_images = n_images
        self._finite: list[Any] = []
        self._decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
        self._hook: Any = None

    def __enter__(self) -> _DecodedCheck:
        if self._decoder is not None:
            self._hook = self._decoder.register_forward_hook(self._check)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _check(self, _module: object, _inputs: object, output: Any) -> None:
        values = output[0] if isinstance(output, tuple) else output
        self._finite.append(values.isfinite().flatten(1).all(dim=1))

    def broken(self) -> list[bool]:
        """Of each image, once the pipeline has ended."""
        from alphabench.device_transfer import fetched

        found = [False] * self._n_images
        for finite in fetched(self._finite):
            if len(finite) == self._n_images:
                found = [was or not row for was, row in zip(found, finite.tolist(), strict=True)]
            elif not finite.all():  # tiles of images, which cannot be assigned
                found = [True] * self._n_images
        return found


def _batches(requests: Sequence[ImageRequest], batch_size: int) -> Iterator[Sequence[ImageRequest]]:
    """Requests of one size together, `batch_size` of them at most."""
    by_size: dict[tuple[int | None, int | None], list[ImageRequest]] = {}
    for request in requests:
        by_size.setdefault((request.width, request.height), []).append(request)
    for group in by_size.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _sized(output: object, width: int | None, height: int | None) -> Image | NotGenerated:
    """The image as RGB, of the requested size; some pipelines round it silently."""
    try:
        image = to_rgb(image_of(output))
    except UnreadableImageError as error:
        return NotGenerated(status="failed", reason=f"the pipeline made no image: {error}")
    if width is not None and image.size != (width, height):
        raise AlphaBenchError(
            f"the pipeline made {image.width}x{image.height} pixels where {width}x{height} "
            "were requested",
            hint="choose width and height as multiples of 16 or 32",
        )
    return image
