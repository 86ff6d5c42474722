"""The base model of trained weights: what it is called in public, where it is, and its licence.

A hub id is public; a folder's path is not, so a base in a folder is called by the folder's name.
Loads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alphabench.checkpoints import pick_checkpoint_kind
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.core.options import split_spec
from alphabench.weights.location import MAX_CARD

BUNDLED: Final = "nano"
_BUNDLED_LICENCE: Final = {"license": "apache-2.0"}
_HUB_ID: Final = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")
_LICENCE_KEYS: Final = ("license", "license_name", "license_link")
_CARD: Final = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A checkpoint that trained weights belong to."""

    name: str
    """Its hub id, the name of its folder, or `nano`."""
    kind: str
    """As `--ckpt` knows it, such as `diffusers`; `unknown` where that cannot be told."""
    repo: str | None = None
    """On the Hugging Face hub."""
    revision: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)
    """`license`, `license_name` and `license_link` of its card, as far as it has them."""

    @property
    def spec(self) -> str:
        """What stands after `--ckpt`; BASE for a folder, which every machine has elsewhere."""
        if self.repo is None:
            return self.name if self.kind == BUNDLED else "BASE"
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def describe_base(spec: str, *, fetch: bool) -> BaseModel:
    """The base model behind a `--ckpt`.

    Args:
        spec: as the user or the recipe wrote it.
        fetch: download the card of a model on the hub if it is not in the hub's cache.
    """
    plain = split_spec(spec)[0]
    kind, location = _kind_and_location(plain)
    if kind == BUNDLED:
        return BaseModel(name=BUNDLED, kind=kind, licence=_BUNDLED_LICENCE)
    folder = Path(location).expanduser()
    match = None if folder.exists() else _HUB_ID.fullmatch(location)
    if match is None:
        name = folder.resolve().name if location else plain
        return BaseModel(name=name, kind=kind, licence=_stated(folder / _CARD))
    repo, revision = match[1], match[2]
    card = _hub_card(repo, revision, fetch=fetch)
    licence = {} if card is None else _stated(card)
    return BaseModel(name=repo, kind=kind, repo=repo, revision=revision, licence=licence)


def checkpoint_kind(spec: str) -> str:
    """The kind of a `--ckpt`; `unknown` where it cannot be told, such as a folder that is gone."""
    return _kind_and_location(split_spec(spec)[0])[0]


def _kind_and_location(plain: str) -> tuple[str, str]:
    try:
        return pick_checkpoint_kind(plain)
    except AlphaBenchError:
        return "unknown", plain.rpartition(":")[2]


def _stated(card: Path) -> dict[str, str]:
    """The licence in the header of a model card; empty without a readable one."""
    try:
        text = read_text(card, max_bytes=MAX_CARD)
    except UnreadableFileError:
        return {}
    header = text.partition("---")[2].partition("\n---")[0]
    found = {
        key: re.search(rf"^{key}:[ \t]*(\S.*)$", header, re.MULTILINE) for key in _LICENCE_KEYS
    }
    stated = {key: match[1].strip().strip("'\"") for key, match in found.items() if match}
    return stated if "license" in stated else {}


def _hub_card(repo: str, revision: str | None, *, fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, _CARD, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if not fetch:
        return None
    try:
        return Path(hf_hub_download(repo, _CARD, revision=revision))
    except Exception:  # noqa: BLE001 - a boundary: the card then says that no licence was found
        return None
