"""The weights a policy may run under: trained, old, reference and EMA; one set in force at a time.

Old and EMA weights are copies of the trained parameters that are written over them while a
view is in force; the reference is the policy with its LoRA layers out of force, or a copy of the
first values where all weights are trained. Shards a module over several processes if the settings
say so. Knows no optimizer and no loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError
from alphatrainers import lora_adapters, weight_shards
from alphatrainers.distributed import Processes
from alphatrainers.protocols import HalfPrecision, Policy, WeightView
from alphatrainers.settings import TrainingSettings

Values = dict[str, Tensor]

_BYTES_AT_ONCE: Final = 2**28
"""Of tensors that leave a device in one copy: they are joined there, which takes as much memory."""


class WeightSets:
    """Trained parameters of one policy, by name, and the copies that other views need."""

    def __init__(
        self,
        policy: Policy,
        settings: TrainingSettings,
        *,
        views: frozenset[str],
        processes: Processes,
    ) -> None:
        self._compute = settings.compute
        self.rates = lora_adapters.learning_rates(policy.experts, settings.optimiser)
        experts = {name: policy.experts[name] for name in self.rates}
        self._module, self._lora, self._processes = policy.module, settings.lora, processes
        bound = lora_adapters.select_trainable(
            self._module, experts, lora=settings.lora, seed=settings.seed
        )
        self.expert_of = {name: trainable.expert for name, trainable in bound.items()}
        for parameter in self._module.parameters():
            processes.copy_from_first(parameter.data)
        self._units = sharded_units(policy, settings, processes, set(bound))
        # Sharding replaces parameters: they are looked up again by name.
        named = dict(self._module.named_parameters())
        self.trained: dict[str, nn.Parameter] = {name: named[name] for name in bound}
        copied = set(views) & {"old", "ema"}
        if "reference" in views and self._lora is None:
            copied.add("reference")
        self._copies: dict[str, Values] = {view: self._snapshot() for view in sorted(copied)}
        self._current = dict.fromkeys(copied, True)
        self._in_force: WeightView = "train"

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the weights."""
        return bool(self._units)

    @contextmanager
    def view(self, view: WeightView) -> Iterator[None]:
        """Puts other weights in force inside the block."""
        if view == self._in_force:
            yield
            return
        assert self._in_force == "train", "views do not nest"
        self._in_force = view
        try:
            if view == "reference" and self._lora is not None:
                yield from self._without_adapters()
            else:
                yield from self._with_values(self._copies[view])
        finally:
            self._in_force = "train"

    def equals_trained(self, view: WeightView) -> bool:
        """Whether a view is known to be the trained weights, so that no forward is needed."""
        return view == "train" or self._current.get(view, False)

    def mark_changed(self) -> None:
        """Records that the trained weights have changed, so that no copy is known to equal them."""
        self._current = dict.fromkeys(self._current, False)

    @torch.no_grad()
    def move_copy(self, view: WeightView, *, decay: float) -> None:
        """Sets copy <- decay * copy + (1 - decay) * trained; does nothing without a copy."""
        copy = self._copies.get(view)
        if copy is None:
            return
        for name, parameter in self.trained.items():
            if decay == 0.0:
                copy[name].copy_(parameter)
            else:
                copy[name].lerp_(parameter, 1.0 - decay)
        if decay == 0.0:
            self._current[view] = True

    def values(self, view: WeightView) -> Values:
        """Full values on the CPU of the first process; the others help, and get nothing.

        Needs a view that has a copy.
        """
        source: Mapping[str, Tensor] = self.trained if view == "train" else self._copies[view]
        return full_values(source, wanted=self._processes.first)

    def tensors(self, view: WeightView) -> Values:
        """The values as this process holds them: of sharded ones, its part. Not copied."""
        source: Mapping[str, Tensor] = self.trained if view == "train" else self._copies[view]
        return {name: value.detach() for name, value in source.items()}

    @property
    def saved_views(self) -> list[WeightView]:
        """The views that must be saved."""
        return ["train", *self._copies]  # type: ignore[list-item]

    @torch.no_grad()
    def load(self, view: WeightView, values: Mapping[str, Tensor]) -> None:
        """Takes back what `values` gave.

        Raises:
            ValueError: if names or shapes are not those of the trained parameters.
        """
        target: Mapping[str, Tensor] = self.trained if view == "train" else self._copies[view]
        if set(target) != set(values):
            raise ValueError(f"{view}: other parameters: {sorted(set(target) ^ set(values))[:4]}")
        for name, value in values.items():
            copy_into(target[name], value)
        self.compare_copies()

    def compare_copies(self) -> None:
        """Finds out which copies equal the trained weights, after any of them was loaded."""
        equal = {
            other: all(torch.equal(_local(c[n]), _local(p)) for n, p in self.trained.items())
            for other, c in self._copies.items()
        }
        # Each process compares its own part: all must come to the same conclusion.
        every = self._processes.gather(equal)
        self._current = {view: all(found[view] for found in every) for view in equal}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """All weights of every unit on this process: its passes need not match those of others.

        For walks without gradients: generation reads all weights at every token, and a gather of
        them for each token would take longer than the token. Enter it after the view.
        """
        for unit in self._units:
            unit.set_reshard_after_forward(False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in self._units:
                unit.reshard()
                unit.set_reshard_after_forward(True)

    def computing(self) -> AbstractContextManager[None]:
        """Within it, passes of a training compute as its settings say."""
        return weight_shards.float32_products(self._compute)

    def _snapshot(self) -> Values:
        return {name: value.detach().clone() for name, value in self.trained.items()}

    @torch.no_grad()
    def _exchange(self, values: Values) -> None:
        for name, parameter in self.trained.items():
            parameter.copy_(values[name])

    def _with_values(self, values: Values) -> Iterator[None]:
        trained = self._snapshot()
        self._exchange(values)
        try:
            yield
        finally:
            self._exchange(trained)

    def _without_adapters(self) -> Iterator[None]:
        lora_adapters.switch(self._module, enabled=False)
        try:
            yield
        finally:
            lora_adapters.switch(self._module, enabled=True)


def is_sharded(value: Tensor) -> bool:
    """Whether this process holds a part of the tensor only."""
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def full_values(values: Mapping[str, Tensor], *, wanted: bool = True) -> Values:
    """Copies of full tensors on the CPU, gathered from all processes where they are sharded.

    Tensors of a device are joined by type and copied together: the host waits once for each type,
    and once more for every 256 MiB. Every process must ask for the same names in the same order.

    Args:
        values: by name.
        wanted: by this process; otherwise it helps the others to gather, one tensor after the
            other, and keeps none.
    """
    from torch.distributed.tensor import DTensor

    found: Values = {}
    joined: dict[tuple[torch.device, torch.dtype], Values] = {}
    held = 0
    for name, value in values.items():
        full = value.detach()
        full = full.full_tensor() if isinstance(full, DTensor) else full
        if not wanted:
            continue
        if full.device.type == "cpu":
            found[name] = full.clone()
            continue
        joined.setdefault((full.device, full.dtype), {})[name] = full
        held += full.numel() * full.element_size()
        if held >= _BYTES_AT_ONCE:
            for together in joined.values():
                found |= _copied_together(together)
            joined, held = {}, 0
    for together in joined.values():
        found |= _copied_together(together)
    return {name: found[name] for name in values if wanted}


def _copied_together(values: Values) -> Values:
    """Copies on the CPU of tensors of one device and one type; each has its own memory."""
    if len(values) == 1:
        return {name: value.cpu() for name, value in values.items()}
    flat = torch.cat([value.flatten() for value in values.values()]).cpu()
    parts = torch.split(flat, [value.numel() for value in values.values()])
    return {
        name: part.clone().view(value.shape)
        for (name, value), part in zip(values.items(), parts, strict=True)
    }


@torch.no_grad()
def copy_into(target: Tensor, value: Tensor) -> None:
    """Copies a full tensor into a parameter, or into this process's part of it."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if target.shape != value.shape:
        raise ValueError(f"shape {tuple(value.shape)} does not fit {tuple(target.shape)}")
    if isinstance(target, DTensor):
        there = value.to(device=target.to_local().device, dtype=target.dtype)
        target.copy_(distribute_tensor(there, target.device_mesh, target.placements))
    else:
        target.copy_(value)


def _local(value: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return value.to_local() if isinstance(value, DTensor) else value.detach()


def sharded_units(
    policy: Policy, settings: TrainingSettings, processes: Processes, trained: Collection[str]
) -> list[Any]:
    """The policy's units in shards where the settings ask for it, ready to compute as they say.

    Raises:
        AlphaBenchError: they ask for what the policy or the number of processes cannot do.
    """
    if settings.compute != "bfloat16":
        divided = processes.size > 1 and settings.parallel == "shard"
        return weight_shards.shard_units(policy.units, processes) if divided else []
    if processes.size > 1 and settings.parallel != "shard":
        raise AlphaBenchError(
            "training.compute=bfloat16 in several processes needs weights in shards",
            hint="set training.parallel=shard",
        )
    if not isinstance(policy, HalfPrecision):
        raise AlphaBenchError(
            "this policy cannot store weights in float32 and compute in bfloat16",
            hint="leave out training.compute, or train LoRA layers over bfloat16 weights",
        )
    units = weight_shards.shard_units(policy.units, processes, compute=torch.bfloat16)
    for name, parameter in policy.module.named_parameters():
        if name in trained and not is_sharded(parameter):
            raise AlphaBenchError(
                f"{name!r} is trained, and no unit of this policy holds it",
                hint="leave out training.compute, or freeze it by its expert's learning rate",
            )
    policy.compute_in(torch.bfloat16)
    return units
