"""Layouts of folders of generated images: what a layout is, the flat one, and look-up by name.

A layout lists a folder once and maps each sample to a key of that list. Each benchmark defines the
layout of its upstream scripts, found through the registry. Opens no image; knows no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

Listing = Mapping[str, Mapping[int, Path]]
"""Key -> number of the image -> its file."""

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_HUB_REPOSITORY: Final = re.compile(r"(models|datasets|spaces)--.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """Options of `images:`."""

    layout: str = "geneval"
    """A name of `layouts`."""
    gaps: Literal["refuse", "allow"] = "refuse"
    """What to do when an image is missing; with `allow` it counts as missing in the report."""
    model: str | None = None
    """tiif, gedit, oneig: the model, where the folder holds images of several models."""
    cells: int = 4
    """dpg, oneig: images in a file, 4 or 1."""
    side: int | None = None
    """dpg: pixels of one image (upstream's --resolution); None takes what the file implies."""

    def __post_init__(self) -> None:
        if self.cells not in (1, 4):
            raise ValueError(f"cells is 4 or 1, not {self.cells!r}")
        if self.side is not None and self.side < 1:
            raise ValueError(f"side is 1 at least, not {self.side!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the images of samples are arranged in a folder."""

    form: str
    """An example path for messages."""
    find: Callable[[Path, FolderOptions], Listing]
    """The images in a folder; empty where the folder has another layout."""
    key: Callable[[Sample], str]
    """The key of a sample's images; KeyError for a sample of another benchmark."""
    reads: tuple[str, ...] = ()
    """The options that only this layout takes."""
    split: Callable[[Image, str, FolderOptions], list[Image]] | None = None
    """For layouts with all images of a sample in one file: that RGB image and the file's name ->
    the images in order. Raises AlphaBenchError where the file is no such grid."""
    fits_any: bool = False
    """Any folder of images would fit, so the layout is suggested only where no other fits."""
    prompt_file: Callable[[Path], Path] | None = None
    """The file beside an image whose first line states the prompt, as JSON."""


def layouts() -> dict[str, Layout]:
    """Name -> layout: `flat` first, then those of the benchmarks."""
    named = {name: registry.benchmark_entry(name) for name in registry.benchmark_names()}
    references = {name: entry.folder_layout for name, entry in named.items() if entry.folder_layout}
    return {"flat": FLAT} | {name: registry.load_object(ref) for name, ref in references.items()}


def layout_named(name: str) -> Layout:
    """The layout `flat` or that of a benchmark.

    Raises:
        AlphaBenchError: there is no such layout; the error names the nearest.
    """
    known = layouts()
    if name not in known:
        raise unknown_name("layout", name, known)
    return known[name]


def layouts_that_fit(root: Path, sample: Sample | None = None) -> list[str]:
    """The names of the layouts in which the folder holds images, and the sample's where given."""
    fitting = {name: one for name, one in layouts().items() if _fits(one, root, sample)}
    return [name for name, one in fitting.items() if not one.fits_any] or list(fitting)


def _fits(layout: Layout, root: Path, sample: Sample | None) -> bool:
    try:
        found = layout.find(root, FolderOptions())
        return bool(found) and (sample is None or layout.key(sample) in found)
    except KeyError:  # the sample is another benchmark's
        return False
    except AlphaBenchError:  # images exist, but which of them are meant is ambiguous
        return sample is None


def is_image_file(path: Path) -> bool:
    """Whether it is a regular file named as an image; macOS leaves `._5.png` beside `5.png`."""
    is_named_so = path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    return is_named_so and path.is_file()


def hub_repository(folder: Path) -> Path | None:
    """The repository in Hugging Face's cache whose snapshot contains the folder.

    All files of a snapshot are links to `blobs` beside `snapshots`.
    """
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        if (
            snapshot.parent.name == "snapshots"
            and _HUB_REPOSITORY.fullmatch(repository.name)
            and (repository / "blobs").is_dir()
        ):
            return repository
    return None


def listing_of(root: Path, found: Iterable[tuple[str, int, Path]]) -> Listing:
    """The listing of triples of key, image index and file.

    Raises:
        AlphaBenchError: two files for one index.
    """
    listed: dict[str, dict[int, Path]] = {}
    for key, index, path in found:
        of_key = listed.setdefault(key, {})
        if index in of_key:
            raise AlphaBenchError(
                f"there are two images {key}/{index}: "
                f"{str(of_key[index].relative_to(root))!r} and {str(path.relative_to(root))!r}",
                hint="remove one of them",
            )
        of_key[index] = path
    return listed


def choose_model(root: Path, models: Iterable[str], wanted: str | None) -> str | None:
    """The requested model, or the only one there is; None where there is none.

    Raises:
        AlphaBenchError: no such model, or several of which none is named.
    """
    known = sorted(set(models))
    if wanted is not None and wanted not in known:
        raise unknown_name(f"model in {str(root)!r}", wanted, known)
    if wanted is None and len(known) > 1:
        raise AlphaBenchError(
            f"{str(root)!r} holds the images of {len(known)} models: {', '.join(known)}",
            hint=f"name one: --set model={known[0]}",
        )
    return wanted or next(iter(known), None)


def _find_flat(root: Path, _: FolderOptions) -> Listing:
    """`ID/INDEX.png` and `ID_INDEX.png`, where an index may have leading zeros."""
    top = sorted(root.iterdir())
    candidates = [(f.name, path.stem, path) for f in top if f.is_dir() for path in files_inside(f)]
    for path in top:
        sample, underscore, index = path.stem.rpartition("_")
        if underscore:
            candidates.append((sample, index, path))
    return listing_of(
        root,
        (
            (sample, int(index), path)
            for sample, index, path in candidates
            if index.isdecimal() and is_image_file(path)
        ),
    )


def find_in_groups(inner: str) -> Callable[[Path, FolderOptions], Listing]:
    """A `Layout.find` of `MODEL/inner/GROUP/ID.png`, or from `inner` on, by `GROUP/ID`."""

    def find(root: Path, options: FolderOptions) -> Listing:
        files = (path for path in sorted(_inner(root, options).glob("*/*")) if is_image_file(path))
        return listing_of(root, ((f"{path.parent.name}/{path.stem}", 0, path) for path in files))

    def _inner(root: Path, options: FolderOptions) -> Path:
        if options.model is None and (root / inner).is_dir():
            return root / inner
        models = (folder.parent.name for folder in root.glob(f"*/{inner}") if folder.is_dir())
        return root / (choose_model(root, models, options.model) or "") / inner

    return find


def find_numbered(root: Path, _: FolderOptions) -> Listing:
    """`ID.png`, where an id is a whole number: one image of each sample."""
    files = (path for path in files_inside(root) if path.stem.isdecimal() and is_image_file(path))
    return listing_of(root, ((path.stem, 0, path) for path in files))


def find_named(name: re.Pattern[str]) -> Callable[[Path, FolderOptions], Listing]:
    """A `Layout.find` of images whose names, without suffix, are `key` and, from 0, `number`.

    Args:
        name: with groups of these names.
    """

    def find(root: Path, _: FolderOptions) -> Listing:
        files = ((name.fullmatch(path.stem), path) for path in files_inside(root))
        return listing_of(
            root,
            (
                (match["key"], int(match["number"]), path)
                for match, path in files
                if match and is_image_file(path)
            ),
        )

    return find


def id_with_fact(fact: str) -> Callable[[Sample], str]:
    """A `Layout.key`: the id of a sample that has a fact which other benchmarks' have not."""

    def key(sample: Sample) -> str:
        sample.facts[fact]  # a KeyError for a sample of another benchmark
        return sample.id

    return key


def files_inside(folder: Path) -> list[Path]:
    """The entries of a folder in the order of their names."""
    return sorted(folder.iterdir())


FLAT: Final = Layout(
    form="DIR/ID/0.png or DIR/ID_0.png", find=_find_flat, key=lambda sample: sample.id
)
