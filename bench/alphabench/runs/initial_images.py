"""Images of an earlier run as the initial images of refinements: the same for every checkpoint.

Two checkpoints that refine images of their own differ in what they start from, so nobody can tell
which one refines better. `swapped` is the control: the image of another prompt is refined, so what
comes of it does not depend on the image that the prompt has. Only reads; knows no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.images import open_rgb
from alphabench.runs.records import ImageRecord
from alphabench.runs.stored_run import StoredRun
from alphabench.types import ImageRequest, NotGenerated, image_id

if TYPE_CHECKING:
    from PIL.Image import Image

_SWAPPED: Final = "swapped:"


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialImages:
    """The images of a run folder, all of them unchanged since they were made."""

    root: Path
    images: Mapping[str, ImageRecord]
    """Image id -> what was made."""
    swapped: bool = False
    """Each prompt gets the image of another one, as a control."""

    @property
    def identity(self) -> Mapping[str, str]:
        """A digest of all images, wherever the folder lies, and whether they are swapped."""
        listed = "".join(f"{name} {one.sha256}\n" for name, one in sorted(self.images.items()))
        digest = hashlib.sha256(listed.encode()).hexdigest()
        return {"refine.initial": digest, **({"refine.swapped": "yes"} if self.swapped else {})}

    @property
    def label(self) -> str:
        """For the name of a run."""
        return "SWAPPED given images (control)" if self.swapped else "given images"

    def check(self, requests: Sequence[ImageRequest]) -> None:
        """Refuses requests that the run has no image for.

        Raises:
            AlphaBenchError: images are missing, or were made for other prompts.
        """
        missing = [one.id for one in requests if one.id not in self.images]
        if missing:
            raise AlphaBenchError(
                f"{str(self.root)!r} has no image for {len(missing)} of the {len(requests)} that "
                f"are to be refined, such as {missing[0]!r}",
                hint="make them first: alphabench generate with the same benchmark and --limit",
            )
        for one in requests:
            if self.images[one.id].prompt != one.sample.prompt:
                raise AlphaBenchError(
                    f"the image {one.id!r} in {str(self.root)!r} was made for "
                    f"{self.images[one.id].prompt!r}, not for {one.sample.prompt!r}",
                    hint="name a run of the same benchmark and split",
                )
        if self.swapped and any(self._shown(one) is None for one in requests):
            raise AlphaBenchError(
                f"{str(self.root)!r} has images of one prompt only: there is none to swap with",
                hint="make images of more prompts first",
            )

    def open(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """The image to refine of each request, in order."""
        return [self._opened(self._shown(one)) for one in requests]

    def _opened(self, record: ImageRecord | None) -> Image | NotGenerated:
        if record is None:
            return NotGenerated(status="failed", reason=f"{str(self.root)!r} has no image for it")
        return open_rgb(self.root / record.path)

    def _shown(self, request: ImageRequest) -> ImageRecord | None:
        """Swapped: that of the prompt half the list further on, which mostly is of another task."""
        if not self.swapped:
            return self.images.get(request.id)
        samples = sorted({name.rpartition("/")[0] for name in self.images})
        if request.sample.id not in samples:
            return None
        here = samples.index(request.sample.id)
        for distance in range(len(samples)):
            other = samples[(here + len(samples) // 2 + distance) % len(samples)]
            found = self.images.get(image_id(other, request.index))
            if found is not None and found.prompt != request.sample.prompt:
                return found
        return None


def open_initial_images(text: str) -> InitialImages:
    """`RUN`, or `swapped:RUN`.

    Raises:
        AlphaBenchError: it is no run folder, has no images, or some were altered since.
    """
    swapped = text.startswith(_SWAPPED)
    root = Path(text.removeprefix(_SWAPPED))
    run = StoredRun.open(root, verify_images=True)
    if run.damage:
        name, what = next(iter(run.damage.items()))
        raise AlphaBenchError(
            f"{len(run.damage)} images in {str(root)!r} are not as they were made, such as "
            f"{name!r}, which was {what}",
            hint="give the command that made the run again: it makes those anew",
        )
    if not run.images:
        raise AlphaBenchError(
            f"{str(root)!r} has no images to refine", hint="make them first: alphabench generate"
        )
    return InitialImages(root=root, images=dict(run.images), swapped=swapped)
