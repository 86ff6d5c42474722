"""A BAGEL-type folder or hub repository as a checkpoint: files, options, presets and LoRA.

Checks the files and resolves all settings when it is opened; weights load at the first image.
Settings by precedence: the user's options, the benchmark's preset, the folder's `alphabench.json`,
the released model. A folder with an `alphabench.json` has no presets: those were
published for the released weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.checkpoints import lora
from alphabench.checkpoints.bagel_options import BagelOptions, with_options
from alphabench.checkpoints.bagel_presets import PRESETS, BagelPreset
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.core.options import fill
from alphabench.models.bagel.config import HEADS
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.sampling_config import (
    FOLDER_FILE,
    BagelSampling,
    SamplingFile,
    read_sampling_file,
)
from alphabench.models.unified_model import Abilities, UnifiedModel
from alphabench.upstream.templates import templates_of
from alphabench.weights import hub, memory, weight_files
from alphabench.weights.location import CheckpointFiles, locate_checkpoint

if TYPE_CHECKING:
    from alphabench.models.bagel.bagel_inference import BagelRefiner, UnifiedBagel

_OWNER: Final = "a BAGEL checkpoint"
_PROBE: Final = "llm_config.json"
_MODEL, _CODER = "ema.safetensors", "ae.safetensors"
_REQUIRED: Final = (
    _PROBE, "vit_config.json", _CODER, "tokenizer_config.json", "vocab.json", "merges.txt",
)  # fmt: skip
_OPTIONAL: Final = ("config.json", "tokenizer.json", FOLDER_FILE)
_THINK_NAME: Final = "GEN_THINK_SYSTEM_PROMPT"
"""The name of the thinking prompt in upstream's inferencer.py."""
_REFINEMENT_PRESET: Final = "reflect"
_NANO_NAME: Final = "nano"
NANO: Final = Path(__file__).parents[1] / "nano" / "umm"


def open_bagel(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> UnifiedCheckpoint:
    """Open a folder or hub repository in the released layout; see `BagelOptions`.

    Raises:
        AlphaBenchError: anything that makes it unusable and shows without loading weights.
    """
    filled = fill(BagelOptions, options, owner=_OWNER)
    handle = BagelHandle.open(location, filled, lora_name=lora)
    return UnifiedCheckpoint(handle=handle, device=device)


def open_nano_umm(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> UnifiedCheckpoint:
    """The small model in this package, `--ckpt nano`: the same architecture and options.

    Raises:
        AlphaBenchError: a location, options that do not fit, or a package without the model.
    """
    if location:
        raise AlphaBenchError(
            f"nano takes no location, but got {location!r}",
            hint="write options after a question mark: nano?think=true",
        )
    if not (NANO / _PROBE).is_file():
        raise AlphaBenchError(
            "the nano model is not in this copy of the package",
            hint="install a released package, or train it with tools/nano_umm",
        )
    checkpoint = open_bagel(str(NANO), options=options, lora=lora, device=device)
    assert isinstance(checkpoint.handle, BagelHandle)
    files = dataclasses.replace(checkpoint.handle.files, name=_NANO_NAME)
    handle = dataclasses.replace(checkpoint.handle, files=files)
    return dataclasses.replace(checkpoint, handle=handle)


@dataclass(frozen=True, kw_only=True)
class BagelHandle:
    """A `UnifiedHandle`: checked files and resolved settings."""

    files: CheckpointFiles
    options: BagelOptions
    folder_settings: SamplingFile | None
    """The folder's `alphabench.json`."""
    preset: BagelPreset | None
    adapter: lora.Lora | None

    @classmethod
    def open(cls, location: str, options: BagelOptions, *, lora_name: str | None) -> BagelHandle:
        access = hub.HubAccess(cache_dir=options.cache_dir, offline=options.offline)
        files = find_files(location, revision=options.revision, access=access)
        content = files.read_json(FOLDER_FILE)
        adapter = None
        if lora_name is not None:
            adapter = lora.find(
                lora_name, file=options.lora_file, strength=options.lora_scale, access=access
            )
            if adapter.config is None:
                raise AlphaBenchError(
                    f"the LoRA {lora_name!r} has no adapter_config.json, which states its scale",
                    hint="give the adapter folder that PEFT or our trainer wrote",
                )
        handle = cls(
            files=files,
            options=options,
            folder_settings=read_sampling_file(content, name=location) if content else None,
            preset=_named_preset(options.preset),
            adapter=adapter,
        )
        handle._check()
        return handle

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=True, thinks=True, answers=True)

    @property
    def think(self) -> bool:
        return self.options.think

    @property
    def batch_size(self) -> int:
        return self.sampling.batch_size

    @property
    def suggested_evaluator(self) -> str | None:
        return self.sampling.suggested_evaluator

    @property
    def licences(self) -> Mapping[str, str]:
        stated = self.folder_settings.licence if self.folder_settings is not None else None
        return {self.name: stated or self.files.licence()}

    @cached_property
    def sampling(self) -> BagelSampling:
        """All settings, from options, preset, folder and released model."""
        base = BagelSampling()
        if self.folder_settings is not None:
            base = self.folder_settings.over(base)
        if self.preset is not None:
            base = self.preset.over(base)
        merged = with_options(base, self.options)
        if self.options.inferencer is None:
            return merged
        return dataclasses.replace(merged, think_prompt=read_think_prompt(self.options.inferencer))

    @cached_property
    def identity(self) -> Mapping[str, str]:
        identity = {"kind": "bagel", "weights": self.files.identity(), **self.settings}
        if not self._is_float32:
            # Logits and velocities were rounded before: other thoughts, other last bits of images.
            identity["heads"] = "float32"
        if self.adapter is not None:
            identity["lora"] = self.adapter.identity()
        return identity

    @property
    def settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`; part of the identity."""
        sampling = self.sampling
        settings = {
            "preset": self.preset.name if self.preset is not None else "none",
            "timesteps": str(sampling.timesteps),
            "shift": str(sampling.shift),
            "draw": _describe_guidance(sampling.draw),
            "edit": _describe_guidance(sampling.edit),
            "size": f"{sampling.width}x{sampling.height}",
            "latent_sizes": f"{sampling.latent_shortest}-{sampling.latent_longest}",
            "patch_sizes": f"{sampling.patch_shortest}-{sampling.patch_longest}",
            "dtype": sampling.dtype,
            "batched": "yes" if sampling.batch_size > 1 else "no",
            "think": "on" if self.think else "off",
        }
        if self.options.compile:
            settings["compiled"] = "yes"
        if self.think:
            # A digest: upstream's prompt is read from the user's copy and not redistributed.
            settings["think_prompt"] = sha256(sampling.think_prompt.encode()).hexdigest()[:12]
            settings["temperature"] = str(sampling.temperature)
            settings["max_think_tokens"] = str(sampling.max_think_tokens)
        return settings

    @property
    def default_settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`; those of the same preset."""
        defaults = dataclasses.replace(self, options=BagelOptions()).settings
        return {**defaults, "compiled": "no"} if self.options.compile else defaults

    @property
    def _is_float32(self) -> bool:
        """Whether all weights load in float32; the type of a repository's is not known here."""
        if self.sampling.dtype != "stored" or self.files.folder is None:
            return self.sampling.dtype == "float32"
        paths = memory.safetensors_among(self.files.folder, self.files.needed)
        del paths[_CODER]
        headers = [weight_files.read_header(path, name=self.name) for path in paths.values()]
        entries = [header.get(f"{HEADS[0]}.weight", {}) for header in headers]
        return {"F32"} == {entry["dtype"] for entry in entries if entry}

    def for_benchmark(self, benchmark: str) -> BagelHandle:
        chosen = PRESETS.get(benchmark)
        if self.options.preset != "auto" or self.folder_settings is not None or chosen is None:
            return self
        return dataclasses.replace(self, preset=chosen)

    def load(self, device: str) -> UnifiedBagel:
        import torch

        from alphabench.models.bagel.bagel_inference import UnifiedBagel
        from alphabench.models.bagel.loading import load_bagel

        folder = self.files.fetch()
        free = memory.free_bytes(device)
        memory.check_memory(self._needed_bytes(folder), free, name=self.name, device=device)
        stored = self.sampling.dtype == "stored"
        loaded = load_bagel(
            folder, device=device, dtype=None if stored else getattr(torch, self.sampling.dtype)
        )
        if self.adapter is not None:
            lora.bind({"": loaded.model}, self.adapter, owner="this model")
        if self.options.compile:
            loaded.model.language_model.model.compile_layers()
        return UnifiedBagel(loaded, self.sampling)

    def refinement_identity(self) -> Mapping[str, str]:
        """See `RefinableModel`."""
        settings = self._for_refinement()
        identity = settings.identity
        return {
            "refine.prompt": settings.sampling.reflect_prompt,
            **{f"refine.{key}": identity[key] for key in ("edit", "timesteps", "shift")},
            "think_prompt": identity["think_prompt"],
            "refine.temperature": identity["temperature"],
            "refine.max_think_tokens": identity["max_think_tokens"],
        }

    def refiner(self, model: UnifiedModel) -> BagelRefiner:
        """See `RefinableModel`."""
        from alphabench.models.bagel.bagel_inference import BagelRefiner, UnifiedBagel

        assert isinstance(model, UnifiedBagel), "load() of this class made it"
        return BagelRefiner(UnifiedBagel(model.loaded, self._for_refinement().sampling))

    def _for_refinement(self) -> BagelHandle:
        """The same checkpoint with thinking and the settings published for refinement."""
        options = dataclasses.replace(self.options, think=True)
        return dataclasses.replace(self, options=options).for_benchmark(_REFINEMENT_PRESET)

    def _check(self) -> None:
        """Refuse settings that are invalid, or too large for this model."""
        from alphabench.models.bagel.bagel_inference import size_obstacle
        from alphabench.models.bagel.loading import read_sizes

        try:
            sampling = self.sampling
        except ValueError as error:
            raise AlphaBenchError(f"{_OWNER}: {error}", hint="correct the option") from error
        if self.files.folder is None:
            return
        if self.adapter is not None:
            stored = memory.safetensors_among(self.files.folder, self.files.needed)
            headers = [weight_files.read_header(path, name=self.name) for path in stored.values()]
            modules = frozenset(key.rpartition(".")[0] for header in headers for key in header)
            lora.check_base(self.adapter, {"": modules}, owner="this model", convertible=False)
        config = read_sizes(self.files.folder)
        side = config.token_pixels
        obstacle = size_obstacle(
            sampling.width, sampling.height, side=side, max_side=config.latent_side * side
        )
        if obstacle is not None:
            raise AlphaBenchError(
                f"{self.name!r}: {obstacle}", hint="choose another width and height"
            )

    def weight_size(self) -> memory.WeightSize | None:
        """See `MeasuresWeights`."""
        snapshot = self.files.snapshot
        folder = self.files.folder or (snapshot.cached if snapshot is not None else None)
        if folder is None:
            return None
        paths = memory.safetensors_among(folder, self.files.needed).values()
        stored = sum(path.stat().st_size for path in paths)
        return memory.WeightSize(stored=stored, loaded=self._needed_bytes(folder))

    def peak_bytes(self) -> int | None:
        """See `CountsMemory`."""
        import torch

        from alphabench.models.bagel.generation_trace import GenerationLoad, trace_generation
        from alphabench.models.bagel.loading import read_sizes

        size = self.weight_size()
        if size is None:
            return None
        snapshot, sampling = self.files.snapshot, self.sampling
        folder = self.files.folder or (snapshot.cached if snapshot is not None else None)
        assert folder is not None, "its weights have a size"
        config = read_sizes(folder)
        thought = sampling.max_think_tokens if self.think else 0
        load = GenerationLoad(images=sampling.batch_size, thought_tokens=thought)
        wide = self._needed_bytes(folder, width=4)
        dtype = torch.float32 if size.loaded == wide else torch.bfloat16
        phases = trace_generation(config, sampling, load, dtype=dtype)
        return round(max(counts.peak_bytes for counts in phases.values()))

    def _needed_bytes(self, folder: Path, *, width: int | None = None) -> int:
        widths = {"stored": None, "float32": 4, "float16": 2, "bfloat16": 2}
        name, model = self.name, memory.safetensors_among(folder, self.files.needed)
        coder = model.pop(_CODER)
        width = width or widths[self.sampling.dtype]
        needed = memory.stored_bytes(model.values(), width=width, name=name, in_float32=HEADS)
        return needed + memory.stored_bytes([coder], width=widths["float32"], name=name)


def find_files(location: str, *, revision: str | None, access: hub.HubAccess) -> CheckpointFiles:
    """The files of a checkpoint in the released layout, checked if they are on this machine.

    Raises:
        AlphaBenchError: not there, or a file is missing, truncated or garbled.
    """
    located = locate_checkpoint(location, revision=revision, probe=_PROBE, access=access)
    shards = sorted(one for one in located.names if _is_shard(one))
    model = [_MODEL] if _MODEL in located.names else shards or [_MODEL]
    needed = (*_REQUIRED, *model, *(one for one in _OPTIONAL if one in located.names))
    for one in needed:
        if one not in located.names:
            raise AlphaBenchError(
                f"the file {one!r} of {location!r} is missing", hint="fetch the checkpoint again"
            )
    if located.local is not None:
        weight_files.check_files(located.local, needed, name=location)
    return CheckpointFiles(
        name=location, folder=located.local, snapshot=located.snapshot, needed=needed
    )


def _is_shard(name: str) -> bool:
    if name == f"{_MODEL}.index.json":
        return True
    return name.endswith(".safetensors") and "/" not in name and name != _CODER


def read_think_prompt(script: Path) -> str:
    """Upstream's thinking prompt, read from its script.

    Raises:
        AlphaBenchError: unreadable, or without the prompt.
    """
    try:
        source = read_bytes(script.expanduser(), max_bytes=2**20)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{str(script)!r} cannot be read: {error}",
            hint="give inferencer.py of ByteDance-Seed/Bagel",
        ) from error
    template = templates_of(source).get(_THINK_NAME)
    if template is None or template.literal is None:
        raise AlphaBenchError(
            f"{str(script)!r} holds no text named {_THINK_NAME}",
            hint="give inferencer.py of ByteDance-Seed/Bagel, or leave the option out",
        )
    return template.literal


def _named_preset(name: str) -> BagelPreset | None:
    if name in ("auto", "none"):
        return None
    if name not in PRESETS:
        raise unknown_name(f"preset of {_OWNER}", name, ("auto", "none", *PRESETS))
    return PRESETS[name]


def _describe_guidance(guidance: Guidance) -> str:
    return (
        f"text {guidance.text_scale:g}, image {guidance.image_scale:g}, "
        f"({guidance.low:g}, {guidance.high:g}], {guidance.renorm}, "
        f"floor {guidance.renorm_floor:g}"
    )
