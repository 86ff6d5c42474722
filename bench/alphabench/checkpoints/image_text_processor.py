"""Processors of pipelines that show an image to their text encoder, without torchvision.

transformers' own class for Qwen2-VL takes videos too, and only torchvision reads those. No pipeline
shows one: where torchvision is not installed, the processor here has no part for them and resizes
images with Pillow, which gives other pixels by a grey level or so.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CLASSES: Final = ("Qwen2VLProcessor",)
"""Of transformers; those that pipelines of diffusers name (Qwen-Image-Edit, LongCat-Image)."""
IDENTITY: Final[Mapping[str, str]] = {"image_processor": "pillow"}
"""What the identity of a checkpoint says where images pass through this module."""


def replaced_processors(components: Mapping[str, str]) -> list[str]:
    """Names of the components that this module has to load; none where torchvision is.

    Args:
        components: of a pipeline, with the names of their classes.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return []
    return [name for name, kind in components.items() if kind in CLASSES]


def load_processor(folder: Path) -> Any:
    """The processor that is stored in a folder, for texts and images."""
    return processor_class().from_pretrained(folder, backend="pil", local_files_only=True)


def processor_class() -> Any:
    """The class of transformers without its part for videos."""
    transformers: Any = importlib.import_module("transformers")
    own = transformers.Qwen2VLProcessor

    # The names of these arguments are the parts that the library loads and stores.
    def build(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
    ) -> None:
        own.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # A saved pipeline names the library's class, which reads the same files.
    return type(own.__name__, (own,), {"__init__": build, "__module__": own.__module__})
