"""The request of the OpenAI images API that edits an image: `POST {base}/images/edits`.

It is a form with the source image in it, where a request for a new image is JSON. Sends
nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from alphabench.checkpoints.editing import open_source
from alphabench.types import ImageRequest


def route(request: ImageRequest) -> str:
    """The path below the base address for this request."""
    return "images/generations" if request.sample.source_image is None else "images/edits"


def payload(request: ImageRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of httpx for this body: JSON, or a form with the image, lossless.

    Raises:
        AlphaBenchError: the source image cannot be read.
    """
    if request.sample.source_image is None:
        return {"json": dict(body)}
    buffer = io.BytesIO()
    open_source(request).save(buffer, "PNG")
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
    return {"data": texts, "files": {"image": ("source.png", buffer.getvalue(), "image/png")}}
