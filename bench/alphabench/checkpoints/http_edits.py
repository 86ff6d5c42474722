"""The request of the OpenAI images API that edits a picture: `POST {base}/images/edits`.

It is a form with the source picture in it, where a request for a new picture is JSON. Sends
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
    """The path below the base address that makes this image."""
    return "images/generations" if request.sample.source_image is None else "images/edits"


def payload(request: ImageRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of httpx for this body: JSON, or a form with the picture, lossless.

    Raises:
        AlphaBenchError: the source picture cannot be read.
    """
    if request.sample.source_image is None:
        return {"json": dict(body)}
    picture = io.BytesIO()
    open_source(request).save(picture, "PNG")
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
    return {"data": texts, "files": {"image": ("source.png", picture.getvalue(), "image/png")}}
