"""The images of a stored run by id, opened when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.runs.records import ImageRecord
from alphabench.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from PIL.Image import Image


class UnknownImageError(AlphaBenchError, KeyError):
    """The run has no image of this id."""


class RunImages(Mapping[str, "Image"]):
    """Image id -> Pillow image (RGB), with prompt, seed and id in its `info`.

    The id of an image is the sample's id and the image's index: `"00007/2"`. Only images that
    exist are in the mapping. The number of images is known without opening one.
    """

    def __init__(self, run: StoredRun) -> None:
        self._root = run.root
        self._records = {
            name: record for name, record in run.images.items() if name not in run.damage
        }

    def __getitem__(self, image_id: str) -> Image:
        """Opens the file.

        Raises:
            UnknownImageError: there is no such image; it is a KeyError too.
            AlphaBenchError: the file cannot be read.
        """
        record = self._record(image_id)
        try:
            image = open_rgb(self.path(image_id))
        except UnreadableImageError as error:
            raise AlphaBenchError(
                f"the image {image_id!r} cannot be read: {error}",
                hint="run the same evaluation again, which makes damaged images again",
            ) from error
        image.info = {"image_id": image_id, "prompt": record.prompt, "seed": record.seed}
        return image

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._records

    def __repr__(self) -> str:
        return f"RunImages({len(self)} images of {str(self._root)!r})"

    def path(self, image_id: str) -> Path:
        """The file of an image.

        Raises:
            UnknownImageError: there is no such image.
        """
        return self._root / self._record(image_id).path

    def prompt(self, image_id: str) -> str:
        """The prompt that an image was generated for.

        Raises:
            UnknownImageError: there is no such image.
        """
        return self._record(image_id).prompt

    def _record(self, image_id: str) -> ImageRecord:
        if image_id not in self._records:
            example = next(iter(self._records), None)
            raise UnknownImageError(
                f"the run has no image {image_id!r}",
                hint="list(result.images) gives the ids"
                + (f", such as {example!r}" if example else "; there is none"),
            )
        return self._records[image_id]
