"""Rows of a data set on the Hugging Face hub, always those of one commit.

    hub:OWNER/NAME              the split train
    hub:OWNER/NAME:SPLIT        another split
    hub:OWNER/NAME?config=C     one of several configurations

The library `datasets` reads them. Where it does not reach the hub it takes the newest copy in its
cache, of whatever commit; that is refused here. Only columns of plain values are read: no image,
no sound, no bytes. Knows no prompt and no reward.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec

HUB: Final = "hub:"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SECONDS: Final = 20.0
"""How long the hub may take to name a commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """Options of `hub:`."""

    config: str | None = None
    """Configuration of the data set; none is its default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPrompts:
    """Which rows are meant, but for the commit."""

    repo: str
    split: str = "train"
    config: str | None = None

    @property
    def name(self) -> str:
        """Begins the ids of its prompts."""
        return f"{self.repo.rpartition('/')[2]}-{self.split}"


def is_commit(revision: str) -> bool:
    """Whether it names one state for good, and no branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def read_hub_source(source: str) -> HubPrompts:
    """What a source `hub:...` names.

    Raises:
        AlphaBenchError: it names no data set, or has an unknown option.
    """
    named, options = split_spec(source)
    repo, _, split = named.removeprefix(HUB).partition(":")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise AlphaBenchError(
            f"{source!r} names no data set of the hub",
            hint="write hub:OWNER/NAME, or hub:OWNER/NAME:SPLIT",
        )
    config = fill(HubOptions, options, owner=HUB).config
    return HubPrompts(repo=repo, split=split or "train", config=config)


def newest_commit(wanted: HubPrompts) -> str:
    """The commit that the data set is at now.

    Raises:
        AlphaBenchError: the hub does not say.
    """
    commit = _commit_on_hub(wanted.repo, None)
    if commit is None:
        raise AlphaBenchError(
            f"the hub was not reached, so that the newest commit of {wanted.repo!r} is not known",
            hint="connect to the network, or set prompts.revision to a commit in the local cache",
        )
    return commit


def hub_rows(wanted: HubPrompts, commit: str, *, column: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a split at a commit, in order; columns of plain values.

    Args:
        wanted: data set, configuration and split.
        commit: 40 hexadecimal digits.
        column: that must be there and hold text.

    Raises:
        AlphaBenchError: there is no such data set, configuration, split, commit or column; it is
            gated; it is neither on the hub nor cached; `datasets` is not installed.
    """
    datasets = _datasets()
    _commit_on_hub(wanted.repo, commit)  # says what is wrong better than the library does
    with _reading(datasets, wanted):
        builder = datasets.load_dataset_builder(wanted.repo, name=wanted.config, revision=commit)
    if builder.hash != commit:
        raise AlphaBenchError(
            f"the data set {wanted.repo!r} cannot be had at commit {commit[:12]}: the library "
            "datasets offers another state of it",
            hint=f"connect to the network, and run where no folder is called {wanted.repo}; "
            "prompts of another commit are not taken instead",
        )
    with _reading(datasets, wanted):
        builder.download_and_prepare()
        splits = list(builder.info.splits or ())
        if wanted.split not in splits:
            raise unknown_name(f"split of {wanted.repo!r}", wanted.split, splits)
        rows = builder.as_dataset(split=wanted.split)
        columns = rows.column_names
        if column not in columns:
            raise AlphaBenchError(
                f"the data set {wanted.repo!r} has no column {column!r}",
                hint=f"set prompts.column to one of {', '.join(columns)}",
            )
        plain = [name for name in columns if _is_plain(datasets, rows.features[name])]
        return iter(rows.select_columns(sorted({*plain, column}, key=columns.index)))


def _is_plain(datasets: Any, feature: Any) -> bool:
    """Whether a column holds texts, numbers, or lists and mappings of them."""
    if isinstance(feature, Mapping):
        return all(_is_plain(datasets, one) for one in feature.values())
    if isinstance(feature, list):
        return all(_is_plain(datasets, one) for one in feature)
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _is_plain(datasets, inner)
    if not isinstance(feature, datasets.Value):
        return False
    return str(feature.dtype).rstrip("0123456789") in _PLAIN


_PLAIN: Final = frozenset({"string", "large_string", "int", "uint", "float", "bool", "null"})
"""Types of Arrow, without their number of bits."""


def _datasets() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise AlphaBenchError(
            "prompts on the hub are read by the library datasets, which is not installed",
            hint="pip install 'alphabench[data]'",
        ) from error


def _commit_on_hub(repo: str, revision: str | None) -> str | None:
    """The commit of a revision; None where the hub is not reached."""
    from huggingface_hub import HfApi, errors

    api = HfApi()
    refusals: dict[type[Exception], Callable[[], AlphaBenchError]] = {
        errors.GatedRepoError: lambda: AlphaBenchError(
            f"the data set {repo!r} is gated and this account has no access",
            hint="accept its terms on its page, then run `hf auth login`",
        ),
        errors.RepositoryNotFoundError: lambda: AlphaBenchError(
            f"the hub knows no data set {repo!r}, or it is private",
            hint="check the spelling, or run `hf auth login`",
        ),
        errors.RevisionNotFoundError: lambda: AlphaBenchError(
            f"the data set {repo!r} has no commit {revision!r}",
            hint="check prompts.revision, or leave it out to take the newest",
        ),
        errors.HFValidationError: lambda: AlphaBenchError(
            f"{repo!r} cannot be the name of a data set", hint="write hub:OWNER/NAME"
        ),
    }
    try:
        found = api.dataset_info(repo, revision=revision, timeout=_SECONDS)
        api.auth_check(repo, repo_type="dataset")
    except tuple(refusals) as error:
        raise next(make() for kind, make in refusals.items() if isinstance(error, kind)) from error
    except Exception:  # noqa: BLE001 - a boundary
        # Errors of a host that is not reached changed with the client's releases; the cache is
        # used instead, and says itself what it lacks.
        return None
    return str(found.sha)


@contextmanager
def _reading(datasets: Any, wanted: HubPrompts) -> Iterator[None]:
    """Silences the library, and makes one sentence of what it raises."""
    from alphabench.weights.strict_loading import quiet

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet("datasets", "huggingface_hub"):
            yield
    except AlphaBenchError:
        raise
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise AlphaBenchError(
            f"the data set {wanted.repo!r} is not in the local cache, and the hub was not reached",
            hint="connect to the network, or train on a file",
        ) from error
    except Exception as error:  # a boundary: the library raises whatever it likes
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AlphaBenchError(
            f"the data set {wanted.repo!r} cannot be read: {first}",
            hint="check the configuration (hub:OWNER/NAME?config=C), network and disk space",
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
