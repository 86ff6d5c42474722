"""Divides a run into shards: parts for jobs that share nothing but a file system.

A shard has a run folder of its own and is no part of what decides the images, so all shards of a
run and the undivided run have one fingerprint. Knows no run folder's content.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample

_GIVEN: Final = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_ENDING: Final = re.compile(r"\.shard-(\d{1,9})-of-(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShard:
    """One of several parts of a run."""

    number: int
    """Which one: 1 <= number <= of."""
    of: int
    """The number of parts, at least 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"there is no shard {self.number} of {self.of}")

    @property
    def ending(self) -> str:
        """What its folder's name ends with."""
        return f".shard-{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


def read_shard(text: str) -> RunShard:
    """`"3/8"` -> the third of eight shards.

    Raises:
        AlphaBenchError: anything else, or a number that is not among them.
    """
    match = _GIVEN.fullmatch(text.strip())
    if match is None:
        raise AlphaBenchError(
            f"--shard cannot be {text!r}", hint="write --shard 3/8 for the third of eight shards"
        )
    number, of = map(int, match.groups())
    if not 1 <= number <= of:
        last = max(of, 1)
        raise AlphaBenchError(
            f"--shard cannot be {text!r}: there is no shard {number} of {of}",
            hint=f"shards are counted from 1: --shard 1/{last} to --shard {last}/{last}"
            + (f" (Slurm: --array=1-{last})" if number == 0 else ""),
        )
    return RunShard(number=number, of=of)


def shard_folder(root: Path, shard: RunShard) -> Path:
    """The folder of a shard, beside the folder `root` of the whole run.

    Raises:
        AlphaBenchError: `root` is another shard's folder, or has no name.
    """
    named = named_shard(root)
    if named == shard:
        return root
    if named is not None:
        raise AlphaBenchError(
            f"{str(root)!r} is the folder of {named}, and --shard names {shard}",
            hint=f"give the folder of the whole run: --out {whole_run_folder(root)}",
        )
    root = root if root.name not in ("", "..") else root.resolve()
    if not root.name:
        raise AlphaBenchError(
            f"the shards of {str(root)!r} can have no folders beside it",
            hint="name another folder with --out",
        )
    return root.with_name(root.name + shard.ending)


def named_shard(root: Path) -> RunShard | None:
    """The shard that the name of a folder ends with; None for any other name."""
    match = _ENDING.search(root.name)
    if match is None or match.end() != len(root.name) or match.start() == 0:
        return None
    number, of = map(int, match.groups())
    return RunShard(number=number, of=of) if 1 <= number <= of else None


def whole_run_folder(root: Path) -> Path:
    """The folder of the whole run that a shard's folder stands beside."""
    shard = named_shard(root)
    return root if shard is None else root.with_name(root.name.removesuffix(shard.ending))


def shard_folders(root: Path) -> list[Path]:
    """The folders of shards that stand beside the folder `root` of the whole run, in order."""
    if not root.parent.is_dir():
        return []
    found = [
        (shard.of, shard.number, path)
        for path in root.parent.iterdir()
        if (shard := named_shard(path)) is not None
        and path.name == root.name + shard.ending
        and path.is_dir()
    ]
    return [path for _, _, path in sorted(found)]


def unmerged_shards(plan_root: Path, shard: RunShard | None) -> str:
    """A remark where a whole run begins beside its shards, whose images it does not take."""
    if shard is not None or plan_root.exists() or not shard_folders(plan_root):
        return ""
    return (
        f"shards of {str(plan_root)!r} stand beside it, and this command makes their images again; "
        f"`alphabench merge {shlex.quote(str(plan_root))}` takes them"
    )


def no_run_folder(root: Path) -> AlphaBenchError:
    """The error for a folder that holds no run; shards beside it may be what is meant."""
    if shard_folders(root):
        return AlphaBenchError(
            f"{str(root)!r} is not a run folder; shards of a run stand beside it",
            hint=f"`alphabench merge {shlex.quote(str(root))}` makes a run of them",
        )
    return AlphaBenchError(
        f"{str(root)!r} is not a run folder", hint="`alphabench list runs` shows them"
    )


def deal(ranked: Sequence[Sample], of: int) -> list[set[str]]:
    """The ids of the samples of each shard.

    Samples are dealt out in rounds, one to each shard; within a round, each goes to the shard that
    has the fewest of its group. Sizes differ by one at most, and groups are spread. A sample's
    shard depends on the samples before it only, so a longer list moves none.

    Args:
        ranked: the samples of the run, in the order in which a larger limit adds them.
        of: the number of shards; those beyond the number of samples are empty, and left out.
    """
    n_shards = min(of, len(ranked))
    counts: list[Counter[str]] = [Counter() for _ in range(n_shards)]
    shards: list[set[str]] = [set() for _ in range(n_shards)]
    for start in range(0, len(ranked), n_shards or 1):
        free = list(range(n_shards))
        for sample in ranked[start : start + n_shards]:
            group = sample.group
            chosen = min(free, key=[counts[n][group] for n in range(n_shards)].__getitem__)
            free.remove(chosen)
            counts[chosen][group] += 1
            shards[chosen].add(sample.id)
    return shards
