"""Requests to edit an image: which pipelines take one, and reading the source image.

A text-to-image checkpoint must not ignore a source image, and an editing one needs it: either is an
error. Knows no benchmark and loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints import refuse_edits
from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.types import ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image

ALWAYS_EDITS: Final = (
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionXLInstructPix2PixPipeline",
    "QwenImageEditPipeline",
    "QwenImageEditPlusPipeline",
    "LongCatImageEditPipeline",
)
"""Pipelines of diffusers whose call needs a source image, as `image`."""
ALSO_EDITS: Final = ("FluxKontextPipeline", "Flux2Pipeline")
"""Pipelines that generate from text, or edit when given an `image`."""


def takes_edits(pipeline_class: str) -> bool:
    """Whether a pipeline of diffusers takes a source image and an instruction."""
    return pipeline_class in (*ALWAYS_EDITS, *ALSO_EDITS)


def check_edits(requests: Sequence[ImageRequest], pipeline_class: str) -> None:
    """Refuse requests that the pipeline does not support.

    Raises:
        AlphaBenchError: an edit for a text-to-image pipeline, or a request without a
            image for one that edits.
    """
    if not takes_edits(pipeline_class):
        refuse_edits(requests, "diffusers")
    if pipeline_class not in ALWAYS_EDITS:
        return
    for request in requests:
        if request.sample.source_image is None:
            raise AlphaBenchError(
                f"{request.id!r} has no source image, and {pipeline_class} edits one",
                hint="use an editing benchmark, or a text-to-image checkpoint",
            )


def image_argument(batch: Sequence[ImageRequest]) -> Mapping[str, Any]:
    """The pipeline's `image` for a batch of one edit; nothing for requests without an image.

    Raises:
        AlphaBenchError: the source image cannot be read.
    """
    if all(request.sample.source_image is None for request in batch):
        return {}
    (request,) = batch
    return {"image": open_source(request)}


def open_source(request: ImageRequest) -> Image:
    """The image to be edited, as RGB and upright; transparent pixels become white.

    Raises:
        AlphaBenchError: it cannot be read.
    """
    path = request.sample.source_image
    assert path is not None, "only for requests that edit"
    try:
        return open_rgb(path)
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"the source image {str(path)!r} of {request.sample.id!r} cannot be read: {error}",
            hint="fetch the benchmark's data again",
        ) from error
