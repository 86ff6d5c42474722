"""Janus and Janus-Pro as a checkpoint: a folder or hub repository in the layout of transformers.

Checks the files before anything is loaded. With batch_size=1, the default, an image depends on
nothing but its request; in a larger batch each image is still sampled from its own generator, but
kernels round differently by batch, and one rounding can change a token and all later ones. So
whether images are batched is part of the identity. Imports no model library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints import lora as lora_files
from alphabench.checkpoints import presets
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.models.unified_model import Abilities, UnifiedModel
from alphabench.weights import hub, memory
from alphabench.weights.location import CheckpointFiles, locate_checkpoint
from alphabench.weights.weight_files import (
    PICKLES,
    check_files,
    read_checkpoint_json,
    read_header,
)

if TYPE_CHECKING:
    from alphabench.models.janus.janus_inference import Janus, JanusRefiner

_OWNER: Final = "a Janus checkpoint"
_CONFIG: Final = "config.json"
_WEIGHTS: Final = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_DESCRIPTIONS: Final = (".json", ".txt", ".model", ".jinja")
_WIDTHS: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JanusOptions:
    """Options of a Janus checkpoint; the defaults are those of its authors' sampling script.

    deepseek-ai/Janus, generation_inference.py.
    """

    guidance: float = 5.0
    """Scale of classifier-free guidance; 1 is none, with half the rows."""
    temperature: float = 1.0
    """Of sampled image tokens; 0 takes the most likely."""
    top_k: int | None = None
    """Sample among this many most likely tokens; left out, among all (transformers: 50)."""
    dtype: presets.DtypeName = "bfloat16"
    """Of the weights."""
    batch_size: int = 1
    """Images in one batch; above 1, rounding may change a token and all later ones."""
    answer_tokens: int = 512
    """Token limit of a text answer."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    lora_file: str | None = None
    """Which file, where the LoRA folder or repository holds several."""
    lora_scale: float = 1.0
    """Factor on the LoRA's own scale."""
    cache_dir: Path | None = None
    """Cache of hub files; none: the hub client's default."""
    offline: bool = False
    """Use only cached files; do not contact the hub."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.guidance) and self.guidance >= 1.0):
            raise ValueError(f"guidance must be 1 or more, not {self.guidance}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        for name in ("top_k", "batch_size", "answer_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")


def open_janus(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> UnifiedCheckpoint:
    """Open a folder or hub repository `owner/name[@revision]`; see `JanusOptions`.

    Raises:
        AlphaBenchError: anything that makes it unusable and shows without loading weights.
    """
    chosen = fill(JanusOptions, options, owner=_OWNER)
    handle = JanusHandle.find(location, chosen, lora_name=lora)
    return UnifiedCheckpoint(handle=handle, device=device)


@dataclass(frozen=True, kw_only=True)
class JanusHandle:
    """A `UnifiedHandle`: checked files and options."""

    files: CheckpointFiles
    options: JanusOptions
    adapter: lora_files.Lora | None = None

    @classmethod
    def find(
        cls, location: str, options: JanusOptions, *, lora_name: str | None = None
    ) -> JanusHandle:
        """Locate the files and check those on this machine.

        Raises:
            AlphaBenchError: not there, no Janus, incomplete, or damaged.
            AlphaBenchError: a LoRA that is not there or does not fit.
        """
        access = hub.HubAccess(cache_dir=options.cache_dir, offline=options.offline)
        located = locate_checkpoint(
            location, revision=options.revision, probe=_CONFIG, access=access
        )
        _check_config(read_checkpoint_json(located.probe, name=location), name=location)
        needed = _needed_files(located.names, name=location)
        if located.local is not None:
            check_files(located.local, needed, name=location)
        files = CheckpointFiles(
            name=location, folder=located.local, snapshot=located.snapshot, needed=tuple(needed)
        )
        adapter = None if lora_name is None else _find_lora(lora_name, options, access)
        handle = cls(files=files, options=options, adapter=adapter)
        handle._check_adapter()
        return handle

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=False, thinks=False, answers=True)

    @property
    def think(self) -> bool:
        return False

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    @property
    def suggested_evaluator(self) -> None:
        return None

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """A folder's weights are read once, for their digest."""
        identity = {"kind": "janus", "weights": self.files.identity(), **self.settings}
        if self.adapter is not None:
            identity["lora"] = self.adapter.identity()
        return identity

    @property
    def settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`; part of the identity."""
        return {
            "guidance": str(self.options.guidance),
            "temperature": str(self.options.temperature),
            "top_k": "all" if self.options.top_k is None else str(self.options.top_k),
            "dtype": self.options.dtype,
            "batched": "yes" if self.options.batch_size > 1 else "no",
        }

    @property
    def default_settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return replace(self, options=JanusOptions()).settings

    def weight_size(self) -> memory.WeightSize | None:
        """See `MeasuresWeights`."""
        snapshot = self.files.snapshot
        folder = self.files.folder or (snapshot.cached if snapshot is not None else None)
        if folder is None:
            return None
        paths = memory.safetensors_among(folder, self.files.needed).values()
        width = _WIDTHS[self.options.dtype]
        return memory.WeightSize(
            stored=sum(path.stat().st_size for path in paths),
            loaded=memory.stored_bytes(paths, width=width, name=self.name),
        )

    @property
    def licences(self) -> Mapping[str, str]:
        return {self.name: self.files.licence()}

    def for_benchmark(self, benchmark: str) -> JanusHandle:  # noqa: ARG002 - of the protocol
        """The same settings were published for all benchmarks."""
        return self

    def load(self, device: str) -> Janus:
        """Fetch the files, check that the weights fit, and load them.

        Raises:
            AlphaBenchError: they cannot be fetched, are broken, or do not fit into memory.
        """
        folder = self.files.fetch()
        stored = [folder / one for one in self.files.needed if one.endswith(".safetensors")]
        n_bytes = memory.stored_bytes(stored, width=_WIDTHS[self.options.dtype], name=self.name)
        free = memory.free_bytes(device)
        memory.check_memory(n_bytes, free, name=self.name, device=device)
        from alphabench.models.janus.janus_inference import JanusSampling, load_janus

        sampling = JanusSampling(
            guidance=self.options.guidance,
            temperature=self.options.temperature,
            top_k=self.options.top_k,
            batch_size=self.options.batch_size,
            answer_tokens=self.options.answer_tokens,
        )
        janus = load_janus(
            folder, sampling, name=self.name, dtype=self.options.dtype, device=device
        )
        if self.adapter is not None:
            lora_files.bind({"": janus.network}, self.adapter, owner="this model")
        return janus

    def _check_adapter(self) -> None:
        """Refuse a LoRA that the files on this machine show to be for another model."""
        if self.adapter is None or self.files.folder is None:
            return
        stored = memory.safetensors_among(self.files.folder, self.files.needed)
        headers = [read_header(path, name=self.name) for path in stored.values()]
        modules = frozenset(key.rpartition(".")[0] for header in headers for key in header)
        lora_files.check_base(self.adapter, {"": modules}, owner="this model", convertible=False)

    def refinement_identity(self) -> Mapping[str, str]:
        """See `RefinableModel`."""
        from alphabench.models.janus.janus_inference import REFINE_QUESTION

        return {
            "refine.prompt": REFINE_QUESTION,
            "refine.answer_tokens": str(self.options.answer_tokens),
        }

    def refiner(self, model: UnifiedModel) -> JanusRefiner:
        """See `RefinableModel`."""
        from alphabench.models.janus.janus_inference import Janus, JanusRefiner

        assert isinstance(model, Janus), "load() of this class made it"
        return JanusRefiner(model)


def _find_lora(name: str, options: JanusOptions, access: hub.HubAccess) -> lora_files.Lora:
    adapter = lora_files.find(
        name, file=options.lora_file, strength=options.lora_scale, access=access
    )
    if adapter.config is None:
        raise AlphaBenchError(
            f"the LoRA {name!r} has no adapter_config.json, which states its scale",
            hint="give the adapter folder that PEFT or our trainer wrote",
        )
    return adapter


def _check_config(config: Mapping[str, Any], *, name: str) -> None:
    model_type = config.get("model_type")
    if model_type == "multi_modality":
        raise AlphaBenchError(
            f"{name!r} is in DeepSeek's layout, which only their code reads",
            hint="take the same weights in transformers' layout, such as "
            "deepseek-community/Janus-Pro-7B",
        )
    if model_type != "janus":
        raise AlphaBenchError(
            f"{name!r} is no Janus model: its config.json names the type {model_type!r}",
            hint="give a checkpoint with model_type janus",
        )


def _needed_files(names: Collection[str], *, name: str) -> list[str]:
    """Safetensors weights, and the configuration and tokenizer files with them.

    Raises:
        AlphaBenchError: there are no such weights.
    """
    top = sorted(one for one in names if "/" not in one)
    weights = [one for one in top if _WEIGHTS.fullmatch(one)]
    if not any(one.endswith(".safetensors") for one in weights):
        pickles = [one for one in top if one.endswith(PICKLES)]
        what = f"only {pickles[0]!r}, a pickle that can run code" if pickles else "no weights"
        raise AlphaBenchError(
            f"{name!r} holds no weights as safetensors, {what}",
            hint="fetch or save the checkpoint again, as safetensors",
        )
    return weights + [one for one in top if one.endswith(_DESCRIPTIONS) and ".index." not in one]
