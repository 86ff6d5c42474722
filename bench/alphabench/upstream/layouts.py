"""Where pictures lie in a folder that a generator left: each upstream's layout, and a flat one.

A layout lists a folder once, and says under which key of that list a sample's pictures stand. Opens
no picture, and knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.types import Sample

LayoutName = Literal["geneval", "flat", "tiif", "dpg", "wise", "gedit"]
Listing = Mapping[str, Mapping[int, Path]]
"""Key -> number of the image -> its file."""

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_TIIF_LENGTHS: Final = ("short_description", "long_description")
_HUB_REPOSITORY: Final = re.compile(r"(models|datasets|spaces)--.+")
_GEDIT_SET: Final = "fullset"
_GEDIT_LANGUAGES: Final = ("en", "cn")
_GEDIT_SOURCE: Final = "_SRCIMG"
"""Ends the name of a source picture, which lies beside the edited one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """Options of `images:`."""

    layout: LayoutName = "geneval"
    """As in `LAYOUTS`."""
    gaps: Literal["refuse", "allow"] = "refuse"
    """What to do when a picture is missing; allowed ones count as missing in the report."""
    model: str | None = None
    """tiif, gedit: whose pictures, where the folder holds those of several models."""
    cells: int = 4
    """dpg: pictures in a file, 4 or 1 (upstream's --pic-num)."""
    side: int | None = None
    """dpg: pixels of one picture (upstream's --resolution); left out, what the file implies."""

    def __post_init__(self) -> None:
        if self.cells not in (1, 4):
            raise ValueError(f"cells is 4 or 1, not {self.cells!r}")
        if self.side is not None and self.side < 1:
            raise ValueError(f"side is 1 at least, not {self.side!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a folder is laid out."""

    form: str
    """An example path, for people."""
    find: Callable[[Path, FolderOptions], Listing]
    """The pictures in a folder; none where it is laid out otherwise."""
    key: Callable[[Sample], str]
    """Under which key a sample's pictures stand; KeyError for another benchmark's sample."""
    reads: tuple[str, ...] = ()
    """The options that are this layout's own."""
    is_grid: bool = False
    """A file holds all pictures of its sample."""
    prompt_file: Callable[[Path], Path] | None = None
    """The file beside a picture whose first line states the prompt, as JSON."""


def layouts_that_fit(root: Path, sample: Sample | None = None) -> list[str]:
    """The names of the layouts in which the folder holds pictures, and where given, the sample's.

    Any folder of images could be DPG's: that is named only where no other fits.
    """
    names: list[str] = [name for name, of in LAYOUTS.items() if _fits(of, root, sample)]
    return [name for name in names if name != "dpg"] or names


def _fits(layout: Layout, root: Path, sample: Sample | None) -> bool:
    try:
        found = layout.find(root, FolderOptions())
        return bool(found) and (sample is None or layout.key(sample) in found)
    except KeyError:  # it is another benchmark's
        return False
    except AlphaBenchError:  # pictures are there, but which of them are meant is open
        return sample is None


def _is_picture(path: Path) -> bool:
    """A regular file by a picture's name; `._5.png` is what macOS leaves beside `5.png`."""
    is_named_so = path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    return is_named_so and path.is_file()


def hub_repository(folder: Path) -> Path | None:
    """The repository in Hugging Face's cache whose snapshot the folder is, or lies in.

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


def _list(root: Path, found: Iterable[tuple[str, int, Path]]) -> Listing:
    """Key, number and file -> the listing.

    Raises:
        AlphaBenchError: two files for one place.
    """
    listed: dict[str, dict[int, Path]] = {}
    for key, index, path in found:
        of_key = listed.setdefault(key, {})
        if index in of_key:
            raise AlphaBenchError(
                f"there are two pictures {key}/{index}: "
                f"{str(of_key[index].relative_to(root))!r} and {str(path.relative_to(root))!r}",
                hint="remove one of them",
            )
        of_key[index] = path
    return listed


def _choose_model(root: Path, models: Iterable[str], wanted: str | None) -> str | None:
    """The model that is wanted or the only one there is; None where there is none.

    Raises:
        AlphaBenchError: no such model, or several of which none is named.
    """
    known = sorted(set(models))
    if wanted is not None and wanted not in known:
        raise unknown_name(f"model in {str(root)!r}", wanted, known)
    if wanted is None and len(known) > 1:
        raise AlphaBenchError(
            f"{str(root)!r} holds the pictures of {len(known)} models: {', '.join(known)}",
            hint=f"name one: --set model={known[0]}",
        )
    return wanted or next(iter(known), None)


def _find_geneval(root: Path, _: FolderOptions) -> Listing:
    """All-digit folders, and in `samples/` the files named by digits, in the order of names.

    As djghosh13/geneval's evaluation/evaluate_images.py takes them; the n-th file is image n.
    """
    listed: dict[str, dict[int, Path]] = {}
    for folder in sorted(root.iterdir()):
        if not folder.name.isdecimal() or not (folder / "samples").is_dir():
            continue
        key = _number(folder.name)
        files = sorted(
            path
            for path in (folder / "samples").iterdir()
            if re.fullmatch(r"\d+\.png", path.name) and path.is_file()
        )
        if not files:
            continue
        if key in listed:
            other = listed[key][0].parent.parent.name
            raise AlphaBenchError(
                f"the folders {other!r} and {folder.name!r} are both number {key}",
                hint="remove one of them",
            )
        listed[key] = dict(enumerate(files))
    return listed


def _number(name: str) -> str:
    """`00007` and `7` are the same folder to GenEval's scripts, which count."""
    return str(int(name)) if name.isdecimal() else name


def _find_flat(root: Path, _: FolderOptions) -> Listing:
    """`ID/INDEX.png` and `ID_INDEX.png`, where an index may have leading zeros."""
    top = sorted(root.iterdir())
    candidates = [(f.name, path.stem, path) for f in top if f.is_dir() for path in _inside(f)]
    for path in top:
        sample, underscore, index = path.stem.rpartition("_")
        if underscore:
            candidates.append((sample, index, path))
    return _list(
        root,
        (
            (sample, int(index), path)
            for sample, index, path in candidates
            if index.isdecimal() and _is_picture(path)
        ),
    )


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _find_tiif(root: Path, options: FolderOptions) -> Listing:
    """`ATTRIBUTE/MODEL/short_description/LINE.png`, and long ones."""
    folders = [f for length in _TIIF_LENGTHS for f in sorted(root.glob(f"*/*/{length}"))]
    files = [path for folder in folders for path in _inside(folder) if _is_picture(path)]
    model = _choose_model(root, (path.parent.parent.name for path in files), options.model)
    return _list(root, _tiif_places(path for path in files if path.parent.parent.name == model))


def _tiif_places(files: Iterable[Path]) -> Iterator[tuple[str, int, Path]]:
    for path in files:
        length = path.parent
        yield f"{length.parent.parent.name}/{length.name}/{path.stem}", 0, path


def _tiif_key(sample: Sample) -> str:
    from alphabench.benchmarks.tiif.official_files import official_image_path

    return str(official_image_path(sample, model="").with_suffix(""))


def _find_dpg(root: Path, options: FolderOptions) -> Listing:
    """`ITEM.png`, which holds all of the item's pictures."""
    return _list(
        root,
        (
            (path.stem, index, path)
            for path in _inside(root)
            if _is_picture(path)
            for index in range(options.cells)
        ),
    )


def _find_wise(root: Path, _: FolderOptions) -> Listing:
    """`ID.png`, where an id is a whole number."""
    files = (path for path in _inside(root) if path.stem.isdecimal() and _is_picture(path))
    return _list(root, ((path.stem, 0, path) for path in files))


def _find_gedit(root: Path, options: FolderOptions) -> Listing:
    """`MODEL/fullset/GROUP/LANGUAGE/KEY.png`, or from `fullset` or the groups on."""
    base = _gedit_groups(root, options.model)
    files = (path for path in sorted(base.glob("*/*/**/*")) if _is_picture(path)) if base else ()
    return _list(
        root,
        (
            (path.relative_to(base).with_suffix("").as_posix(), 0, path)
            for path in files
            if base and not path.stem.endswith(_GEDIT_SOURCE)
        ),
    )


def _gedit_groups(root: Path, wanted: str | None) -> Path | None:
    """The folder that holds a folder for each group."""
    if wanted is None:
        for folder in (root / _GEDIT_SET, root):
            if any(next(folder.glob(f"*/{language}"), None) for language in _GEDIT_LANGUAGES):
                return folder
    models = (folder.parent.name for folder in root.glob(f"*/{_GEDIT_SET}") if folder.is_dir())
    model = _choose_model(root, models, wanted)
    return None if model is None else root / model / _GEDIT_SET


def _gedit_key(sample: Sample) -> str:
    """Rows that share group, language and key share a picture, as in upstream's scripts."""
    from alphabench.benchmarks.gedit.official_files import official_image_path

    return str(official_image_path(sample).relative_to(_GEDIT_SET).with_suffix(""))


LAYOUTS: Final[Mapping[LayoutName, Layout]] = {
    "geneval": Layout(
        form="DIR/00000/samples/0000.png",
        find=_find_geneval,
        key=lambda sample: _number(sample.id),
        prompt_file=lambda picture: picture.parent.parent / "metadata.jsonl",
    ),
    "flat": Layout(
        form="DIR/ID/0.png or DIR/ID_0.png", find=_find_flat, key=lambda sample: sample.id
    ),
    "tiif": Layout(
        form="DIR/style/MODEL/short_description/0.png",
        find=_find_tiif,
        key=_tiif_key,
        reads=("model",),
    ),
    "dpg": Layout(
        form="DIR/ITEM.png, four pictures in each",
        find=_find_dpg,
        key=lambda sample: sample.id,
        reads=("cells", "side"),
        is_grid=True,
    ),
    "wise": Layout(form="DIR/1.png", find=_find_wise, key=lambda sample: sample.id),
    "gedit": Layout(
        form="DIR/MODEL/fullset/style_change/en/KEY.png",
        find=_find_gedit,
        key=_gedit_key,
        reads=("model",),
    ),
}
