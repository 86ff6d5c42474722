"""What can answer a question about images, one kind of judge a file; and the resolver.

Imports no model library: a kind's module is loaded when a judge of that kind is opened. Knows no
option of any kind but those that every judge takes: `JudgeOptions`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.remote.endpoint import refuse_bare_host

if TYPE_CHECKING:
    from alphabench.judges.handshake import HandshakeLevel, VettedJudge
    from alphabench.questions import Judge

FORMS: Final = (
    "http://host:8000/v1#model (several addresses with commas between)",
    "vllm:MODEL (a folder or hub id)",
    "transformers:MODEL (a folder or hub id)",
    "nano",
    "python:module:factory",
    "scripted:",
)
"""How a judge can be named, for error messages."""

_BUNDLED: Final = ("nano",)
"""Kinds that come with the package and need no location."""
_LEVELS: Final[Mapping[str, HandshakeLevel]] = {
    "nano": "protocol",  # the anchors show things that it does not know
    "python": "off",
    "scripted": "off",
}
_TRUSTED: Final = ("scripted", "python")
"""Kinds that cost nothing and whose answers their author chose: neither tested nor cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """Options that every kind of judge takes, beside its own."""

    handshake: Literal["full", "protocol", "off"] | None = None
    """What it must prove before anything is generated; left out, full, but protocol for nano and
    off for scripted and python judges. Anything but full is written into the results."""
    cache: bool | None = None
    """Keep replies on disk; left out, yes, but no for scripted and python judges."""
    reask_unread: bool = False
    """Ask again what was answered in an earlier run but could not be read, or was refused."""


def open_judge(
    spec: str,
    *,
    options: Mapping[str, str] | None = None,
    cache_dir: Path | None = None,
    device: str = "cpu",
) -> VettedJudge:
    """Open whatever `spec` names; cheap, since models load and connections open when it is asked.

    Args:
        spec: one of `FORMS`, options behind it as `?key=value&key=value`; a further kind from an
            installed package is written `kind:location`.
        options: more options, as text; each is checked by whoever reads it.
        cache_dir: where replies are kept; None keeps none.
        device: where it runs, for kinds that run here.

    Raises:
        AlphaBenchError: nothing of that name, an unknown or repeated option, or a judge that can
            be seen to be unusable.
    """
    from alphabench.judges.answer_cache import AnswerCache
    from alphabench.judges.cached_judge import CachedJudge
    from alphabench.judges.handshake import VettedJudge

    name, own = split_spec(spec)
    given = dict(options or {})
    if twice := sorted(own.keys() & given.keys()):
        raise AlphaBenchError(
            f"option {twice[0]!r} of {name!r} is given twice", hint="give it in one place"
        )
    given |= own
    common = {f.name for f in dataclasses.fields(JudgeOptions)}
    chosen = fill(JudgeOptions, {k: v for k, v in given.items() if k in common}, owner="a judge")
    kind, location = pick_judge_kind(name)
    opener = registry.load("judge", kind)
    rest = {k: v for k, v in given.items() if k not in common}
    judge: Judge = opener(location, options=rest, device=device)
    level: HandshakeLevel = chosen.handshake or _LEVELS.get(kind, "full")
    asked = judge
    if cache_dir is not None and (kind not in _TRUSTED if chosen.cache is None else chosen.cache):
        asked = CachedJudge(
            judge=judge, cache=AnswerCache(cache_dir), reask_unread=chosen.reask_unread
        )
    return VettedJudge(judge=asked, tested=judge, level=level)


def pick_judge_kind(name: str) -> tuple[str, str]:
    """`"vllm:folder"` -> `("vllm", "folder")`; the kind is a name in the registry.

    Raises:
        AlphaBenchError: the name fits no form.
    """
    prefix, colon, location = name.partition(":")
    if prefix in ("http", "https") and colon:
        return "openai", name
    refuse_bare_host(name)
    known = registry.known("judge")
    if prefix in known and (colon or prefix in _BUNDLED):
        return prefix, location
    if colon:
        error = unknown_name("kind of judge", prefix, known)
        raise AlphaBenchError(f"{error.message} (in {name!r})", hint=error.hint)
    if not name.strip():
        raise AlphaBenchError("the judge's name is empty", hint=f"it can be: {'; '.join(FORMS)}")
    near = difflib.get_close_matches(name.casefold(), sorted(known), n=1, cutoff=0.6)
    hint = f"it can be: {'; '.join(FORMS)}"
    if near:
        hint = f"did you mean {near[0] if near[0] in _BUNDLED else near[0] + ':'!r}?"
    raise AlphaBenchError(f"there is no judge {name!r}", hint=hint)
