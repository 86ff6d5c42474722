"""Where files of a hub repository come from: the Hugging Face hub, or its cache on this machine.

Turns each failure of the hub client into one user-facing error. Knows no pipeline. The hub client
itself reads its settings (token, cache folder, offline mode) as Hugging Face documents them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.strict_loading import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAccess:
    """How the hub is reached; changes no result."""

    cache_dir: Path | None = None
    """None takes the hub client's default cache."""
    offline: bool = False
    """Use only cached files; make no network request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSnapshot:
    """One repository at one commit."""

    repo: str
    commit: str
    names: frozenset[str]
    """All files of the commit; only those on this machine when `cached` is set."""
    cached: Path | None
    """The cached snapshot's folder, where the hub was not reachable."""
    access: HubAccess

    def file(self, name: str) -> Path:
        """The path of one file, fetched if it is not cached.

        Raises:
            AlphaBenchError: it is neither cached nor available.
        """
        return _fetch(self.repo, name, self.commit, self.access)

    def folder(self, names: Sequence[str]) -> Path:
        """A folder that holds at least the files `names`, fetched where they are not cached.

        Raises:
            AlphaBenchError: a file is neither cached nor available.
        """
        if self.cached is not None:
            return self.cached
        from huggingface_hub import snapshot_download

        with _hub_errors(self.repo, ", ".join(names)):
            return Path(
                snapshot_download(
                    self.repo,
                    revision=self.commit,
                    cache_dir=self.access.cache_dir,
                    allow_patterns=list(names),
                )
            )


def open_snapshot(spec: str, *, revision: str | None, probe: str, access: HubAccess) -> HubSnapshot:
    """The repository `owner/name` or `owner/name@revision`, pinned to the commit it is at now.

    Args:
        spec: the repository, as the user wrote it.
        revision: branch, tag or commit, if `spec` has none; None is the main branch.
        probe: a small file that it must contain; fetched to notice gated and misspelt repositories.
        access: how to reach the hub.

    Raises:
        AlphaBenchError: unreachable and not cached, unknown, gated, or without the probe.
    """
    repo, at, pinned = spec.partition("@")
    if at and revision is not None:
        raise AlphaBenchError(
            f"{spec!r} already names a revision, and the option revision names {revision!r}",
            hint="give one of them",
        )
    listing = None if access.offline else _query_hub(repo, pinned or revision)
    if listing is not None:
        snapshot = HubSnapshot(
            repo=repo, commit=listing.commit, names=listing.names, cached=None, access=access
        )
        snapshot.file(probe)
        return snapshot
    offline = replace(access, offline=True)
    folder = _fetch(repo, probe, pinned or revision, offline)
    for _ in Path(probe).parts:
        folder = folder.parent
    return HubSnapshot(
        repo=repo, commit=folder.name, names=files_under(folder), cached=folder, access=offline
    )


def files_under(folder: Path) -> frozenset[str]:
    """All files of a folder, relative, with `/`."""
    return frozenset(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _fetch(repo: str, name: str, revision: str | None, access: HubAccess) -> Path:
    from huggingface_hub import hf_hub_download

    with _hub_errors(repo, name):
        return Path(
            hf_hub_download(
                repo,
                name,
                revision=revision,
                cache_dir=access.cache_dir,
                local_files_only=access.offline,
            )
        )


class _Listing(NamedTuple):
    commit: str
    names: frozenset[str]


def _query_hub(repo: str, revision: str | None) -> _Listing | None:
    """Commit and files of a repository; None when the hub is not reachable."""
    from huggingface_hub import HfApi, errors

    with _hub_errors(repo, "the repository"):
        try:
            info = HfApi().model_info(repo, revision=revision, timeout=20)
        except (
            errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError,
            errors.HFValidationError,
        ):
            raise
        except Exception:  # noqa: BLE001 - a boundary
            # The client's HTTP library, and so the errors of a host that cannot be reached, changed
            # with its releases. The cache is used instead, which names missing files itself.
            return None
    names = frozenset(sibling.rfilename for sibling in info.siblings or ())
    return _Listing(commit=str(info.sha), names=names)


@contextmanager
def _hub_errors(repo: str, wanted: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        with quiet("huggingface_hub"):
            yield
    except errors.GatedRepoError as error:
        raise AlphaBenchError(
            f"the hub repository {repo!r} is gated and this account has no access",
            hint="accept its terms on its page, then run `hf auth login`",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise AlphaBenchError(
            f"the hub knows no repository {repo!r}, or it is private, and no folder has this name",
            hint="check the spelling, or run `hf auth login`",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise AlphaBenchError(
            f"the hub repository {repo!r} has no such revision", hint="check the revision"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise AlphaBenchError(
            f"the hub repository {repo!r} is not in the local cache, the hub was not reached, "
            "and no folder has this name",
            hint=f"connect to the network, or fetch it elsewhere with `hf download {repo}`, "
            "or give a folder",
        ) from error
    except errors.EntryNotFoundError as error:
        raise AlphaBenchError(
            f"the hub repository {repo!r} has no file {wanted!r}",
            hint="a pipeline needs model_index.json; a LoRA's file is chosen with "
            "--set lora_file=NAME",
        ) from error
    except errors.HFValidationError as error:
        raise AlphaBenchError(
            f"{repo!r} is not a hub id: {_first(error)}", hint="write owner/name"
        ) from error
    except OSError as error:
        raise AlphaBenchError(
            f"the hub repository {repo!r} could not be fetched: {_first(error)}",
            hint="check network and disk space, then run the same command again",
        ) from error


def _first(error: Exception) -> str:
    """The first line of an error's text; the client's messages have several."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
