"""Uploads a folder to the Hugging Face hub as a model repository, private unless asked otherwise.

Every failure of the hub is one sentence with the command that uploads the finished folder later.
The token is the hub client's own affair: it is neither taken, printed nor stored here. Knows
nothing of what the folder holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.strict_loading import quiet

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
_LONGEST: Final = 200
"""Characters of the hub's own message that are repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubTarget:
    """A model repository that a folder is uploaded to. Use `hub_target`."""

    repo: str
    """owner/name."""
    public: bool = False
    """Whether anybody may read it; a repository that exists stays as it is."""


def hub_target(repo: str, *, public: bool) -> HubTarget:
    """The repository `owner/name`.

    Raises:
        AlphaBenchError: the hub allows no such name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    allowed = _REPOSITORY.fullmatch(repo) is not None
    try:
        validate_repo_id(repo)
    except HFValidationError:
        allowed = False
    if not allowed:
        raise AlphaBenchError(
            f"{repo!r} is no name of a repository on the hub",
            hint="write --push OWNER/NAME, with letters, digits, '-', '_' and '.'",
        )
    return HubTarget(repo=repo, public=public)


def push_folder(
    folder: Path, target: HubTarget, *, message: str, only: Sequence[str] | None = None
) -> str:
    """Makes the repository if there is none, and uploads the files of the folder.

    Args:
        folder: is left as it is, whatever happens.
        target: the repository.
        message: of the commit.
        only: the files that are uploaded, relative to the folder; None for all.

    Returns:
        A clause that says where it is and who may read it.

    Raises:
        AlphaBenchError: no token, no right to write, no network, or refused by the hub.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.is_offline_mode():
        raise _not_pushed("HF_HUB_OFFLINE switches the hub off", "unset it", folder, target)
    try:
        token = get_token()
    except Exception as error:  # of the service that a continuous integration gets it from
        raise _explained(error, folder, target, token=None) from error
    if token is None:
        raise _not_pushed(
            "this machine has no token of the Hugging Face hub",
            "run `hf auth login`, or set HF_TOKEN",
            folder,
            target,
        )
    api = HfApi()
    try:
        with quiet("huggingface_hub"):
            url = api.create_repo(target.repo, private=not target.public, exist_ok=True)
            private = api.model_info(target.repo).private
            if private or target.public:
                api.upload_folder(
                    repo_id=target.repo,
                    folder_path=folder,
                    commit_message=message,
                    allow_patterns=None if only is None else list(only),
                )
    except Exception as error:  # the client's HTTP library has errors of its own
        raise _explained(error, folder, target, token=token) from error
    if not private and not target.public:
        raise AlphaBenchError(
            f"{target.repo!r} exists and is public, so nothing was uploaded; {str(folder)!r} is "
            "complete",
            hint=f"name another repository, or upload it with `{_upload(folder, target)}`",
        )
    return f"{url} ({'private' if private else 'public'})"


def _upload(folder: Path, target: HubTarget) -> str:
    """The hub client's own command, which uploads the folder as it is."""
    words = ["hf", "upload", target.repo, str(folder), "."]
    return shlex.join([*words, *([] if target.public else ["--private"])])


def _not_pushed(why: str, remedy: str, folder: Path, target: HubTarget) -> AlphaBenchError:
    return AlphaBenchError(
        f"{str(folder)!r} is complete and was not pushed to {target.repo!r}: {why}",
        hint=f"{remedy}, then upload it with `{_upload(folder, target)}`",
    )


def _explained(
    error: Exception, folder: Path, target: HubTarget, *, token: str | None
) -> AlphaBenchError:
    from huggingface_hub.errors import HfHubHTTPError

    answer = next((one for one in _causes(error) if isinstance(one, HfHubHTTPError)), None)
    if answer is None:
        *_, first = _causes(error)
        why = f"the hub was not reached, or the upload broke off ({_words(first, token)})"
        return _not_pushed(why, "check the network", folder, target)
    status = answer.response.status_code
    if status == 401:
        why, remedy = "the hub does not accept this machine's token", "run `hf auth login`"
    elif status == 403:
        owner = target.repo.partition("/")[0]
        why = f"the token may not write there ({_words(answer, token)})"
        remedy = f"make a token with the right to write to {owner} and run `hf auth login`"
    elif status in (400, 413, 422):
        why, remedy = f"the hub refuses the files ({_words(answer, token)})", "change what it names"
    else:
        why, remedy = f"the hub answered {status} ({_words(answer, token)})", "wait a while"
    return _not_pushed(why, remedy, folder, target)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it."""
    seen: Any = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _words(error: BaseException, token: str | None) -> str:
    """What the hub says, or the first line of the error, without the token."""
    said = getattr(error, "server_message", None) or str(error)
    line = (said.strip().splitlines() or [type(error).__name__])[0][:_LONGEST]
    return line.replace(token, "TOKEN") if token else line
