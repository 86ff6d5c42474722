"""Requests to edit a picture: which pipelines take one, and how a source picture is opened.

A checkpoint that draws from text alone must not ignore a source picture, nor one that edits be
asked without one: either would be a false answer. Knows no benchmark and loads no model.
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
"""Pipelines of diffusers whose call needs a source picture, as `image`."""
ALSO_EDITS: Final = ("FluxKontextPipeline", "Flux2Pipeline")
"""Pipelines that draw from text, or edit where they are given an `image`."""


def takes_edits(pipeline_class: str) -> bool:
    """Whether a pipeline of diffusers takes a source picture and an instruction."""
    return pipeline_class in (*ALWAYS_EDITS, *ALSO_EDITS)


def check_edits(requests: Sequence[ImageRequest], pipeline_class: str) -> None:
    """Refuse what the pipeline is not made for.

    Raises:
        AlphaBenchError: an edit for a pipeline that draws from text alone, or a request without a
            picture for one that edits.
    """
    if not takes_edits(pipeline_class):
        refuse_edits(requests, "diffusers")
    if pipeline_class not in ALWAYS_EDITS:
        return
    for request in requests:
        if request.sample.source_image is None:
            raise AlphaBenchError(
                f"{request.id!r} shows no picture, and {pipeline_class} edits one",
                hint="use an editing benchmark, or a checkpoint that draws from text",
            )


def image_argument(batch: Sequence[ImageRequest]) -> Mapping[str, Any]:
    """The pipeline's `image` for a batch of one edit; nothing for requests without a picture.

    Raises:
        AlphaBenchError: the source picture cannot be read.
    """
    if all(request.sample.source_image is None for request in batch):
        return {}
    (request,) = batch
    return {"image": open_source(request)}


def open_source(request: ImageRequest) -> Image:
    """The picture to be edited, as RGB and upright; what is transparent becomes white.

    Raises:
        AlphaBenchError: it cannot be read.
    """
    path = request.sample.source_image
    assert path is not None, "only asked of requests that edit"
    try:
        return open_rgb(path)
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"the source picture {str(path)!r} of {request.sample.id!r} cannot be read: {error}",
            hint="fetch the benchmark's data again",
        ) from error
