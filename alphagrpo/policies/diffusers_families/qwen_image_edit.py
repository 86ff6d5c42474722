"""Qwen-Image-Edit (`QwenImageEditPipeline` of diffusers 0.42) and its releases 2509 and 2511, with
one source image (`QwenImageEditPlusPipeline`).

Both pipelines bring a source image to about a megapixel before they encode it, whatever the size of
the edit. The first one shows its text encoder that very image, the second a smaller one with a
number. Text encoder and network are those of `qwen_image`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from alphagrpo.policies.diffusers_families.family_protocol import DiffusersFamily, SourceViews
from alphagrpo.policies.diffusers_families.qwen_image import QwenImage

if TYPE_CHECKING:
    from PIL.Image import Image

_AREA: Final = 1024 * 1024
"""Pixels of a source image, as the first pipeline's call has it; the other names it itself."""


def _module(name: str) -> Any:
    """Of the pipeline, with its rule for sizes, which carries no types."""
    return importlib.import_module(f"diffusers.pipelines.qwenimage.{name}")


def _same_view(pipeline: Any, source: Image) -> SourceViews:
    library = _module("pipeline_qwenimage_edit")
    width, height, _ = library.calculate_dimensions(_AREA, source.width / source.height)
    shown = pipeline.image_processor.resize(source, height, width)
    return SourceViews(shown, pipeline.image_processor.preprocess(shown, height, width))


def _numbered_view(pipeline: Any, source: Image) -> SourceViews:
    library = _module("pipeline_qwenimage_edit_plus")
    ratio = source.width / source.height
    width, height = library.calculate_dimensions(library.CONDITION_IMAGE_SIZE, ratio)
    shown = pipeline.image_processor.resize(source, height, width)
    width, height = library.calculate_dimensions(library.VAE_IMAGE_SIZE, ratio)
    return SourceViews([shown], pipeline.image_processor.preprocess(source, height, width))


QWEN_IMAGE_EDIT: Final[DiffusersFamily] = QwenImage(views=_same_view)
QWEN_IMAGE_EDIT_PLUS: Final[DiffusersFamily] = QwenImage(views=_numbered_view)
