"""Judges: answer questions about images. One kind per module; `open_judge` resolves names.

Imports no model library: a kind's module is loaded when a judge of that kind is opened. Knows only
the options that every judge takes: `JudgeOptions`.
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
    "nano": "protocol",  # the anchors show objects outside its training data
    "python": "off",
    "scripted": "off",
}
_TRUSTED: Final = ("scripted", "python")
"""Kinds that are free and whose answers the user defines: neither checked nor cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """Options that every kind of judge takes."""

    handshake: Literal["full", "protocol", "off"] | None = None
    """Checks that it must pass before anything is generated; by default full, but protocol for nano
    and off for scripted and python judges. Anything but full is written into the results."""
    cache: bool | None = None
    """Store replies on disk; by default true, but false for scripted and python judges."""
    reask_unread: bool = False
    """Repeat questions whose earlier reply could not be parsed or was a refusal."""


def open_judge(
    spec: str,
    *,
    options: Mapping[str, str] | None = None,
    cache_dir: Path | None = None,
    device: str = "cpu",
) -> VettedJudge:
    """Open the judge that `spec` names; models load and connections open at the first question.

    Args:
        spec: one of `FORMS`, followed by options as `?key=value&key=value`; a further kind from an
            installed package is written `kind:location`.
        options: more options, as text; each is checked by the dataclass that defines it.
        cache_dir: folder of the answer cache; None disables it.
        device: where it runs, for kinds that run here.

    Raises:
        AlphaBenchError: nothing of that name, an unknown or repeated option, or a judge that can
            be recognised as unusable.
    """
    from alphabench.judges.answer_cache import AnswerCache
    from alphabench.judges.cached_judge import CachedJudge
    from alphabench.judges.handshake import VettedJudge

    name, spec_options = split_spec(spec)
    given = dict(options or {})
    if twice := sorted(spec_options.keys() & given.keys()):
        raise AlphaBenchError(
            f"option {twice[0]!r} of {name!r} is given twice", hint="give it in one place"
        )
    given |= spec_options
    common = {f.name for f in dataclasses.fields(JudgeOptions)}
    chosen = fill(JudgeOptions, {k: v for k, v in given.items() if k in common}, owner="a judge")
    kind, location = pick_judge_kind(name)
    factory = registry.load("judge", kind)
    rest = {k: v for k, v in given.items() if k not in common}
    judge: Judge = factory(location, options=rest, device=device)
    level: HandshakeLevel = chosen.handshake or _LEVELS.get(kind, "full")
    cached = judge
    if cache_dir is not None and (kind not in _TRUSTED if chosen.cache is None else chosen.cache):
        cached = CachedJudge(
            judge=judge, cache=AnswerCache(cache_dir), reask_unread=chosen.reask_unread
        )
    return VettedJudge(judge=cached, tested=judge, level=level)


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
