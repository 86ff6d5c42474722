"""One update of the trained weights: gradients summed over processes, clipped, stepped.

A loss is divided by counts of the whole update, so gradients add up: over micro-batches in
`.grad`, over processes here, once an update. torch's DistributedDataParallel is not used on
purpose: with several backward passes an update it reduces only what the last one touched. Knows no
loss and no policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from alphabench.core.errors import TrainingStoppedError
from alphatrainers.distributed import Processes
from alphatrainers.settings import OptimiserSettings
from alphatrainers.weight_sets import WeightSets, copy_into, full_values, is_sharded

_BUCKET = 2**25
"""Gradient elements that are summed over processes in one message."""


class WeightOptimizer:
    """The optimizer of a set of weights, for a training of `n_updates` updates."""

    def __init__(
        self,
        weights: WeightSets,
        settings: OptimiserSettings,
        processes: Processes,
        *,
        n_updates: int,
    ) -> None:
        self._weights, self._settings, self._processes = weights, settings, processes
        self._n_updates = n_updates
        self._names = {id(p): name for name, p in weights.trained.items()}
        self.updates = 0
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in weights.trained.items():
            key = (weights.expert_of[name], is_sharded(parameter))
            groups.setdefault(key, []).append(parameter)
        self._optimiser = torch.optim.AdamW(
            [
                {"params": part, "rate": weights.rates[e], "expert": e}
                for (e, _), part in groups.items()
            ],
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    def clear(self) -> None:
        """Forgets gradients."""
        self._optimiser.zero_grad(set_to_none=True)

    def update(self) -> float:
        """Sums, clips and applies the gradients; the norm before clipping, over all processes.

        Raises:
            TrainingStoppedError: for a gradient that is not finite; nothing is changed then.
        """
        self._sum_gradients()
        norm = self._norm()
        if not math.isfinite(norm):
            raise TrainingStoppedError(
                f"the gradient of update {self.updates} has norm {norm}",
                hint="lower the learning rate or clip, or train in float32",
            )
        scale = min(1.0, self._settings.gradient_norm / (norm + 1e-6))
        for parameter in self._weights.trained.values():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        for group in self._optimiser.param_groups:
            group["lr"] = group["rate"] * self._share_of_rate()
        self._optimiser.step()
        self.updates += 1
        self._weights.mark_changed()
        self.clear()
        return norm

    @property
    def learning_rates(self) -> dict[str, float]:
        """By expert, of the last update."""
        return {group["expert"]: float(group["lr"]) for group in self._optimiser.param_groups}

    def state(self) -> dict[str, Tensor]:
        """The optimizer's full tensors by `<what>.<parameter>`, in the first process alone."""
        return full_values(self.tensors(), wanted=self._processes.first)

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's own tensors, by the same names; of sharded ones, this process's part."""
        return {
            f"{what}.{self._names[id(parameter)]}": value
            for parameter, values in self._optimiser.state.items()
            for what, value in values.items()
        }

    def make_room(self, names: Iterable[str]) -> None:
        """Makes tensors of these names, whose values are read into `tensors` afterwards."""
        for key in names:
            what, _, name = key.partition(".")
            parameter = self._weights.trained[name]
            self._optimiser.state[parameter][what] = torch.zeros_like(parameter).detach()

    def restore(self, state: Mapping[str, Tensor], *, updates: int) -> None:
        """Takes back what `state` gave, after so many updates."""
        self.updates = updates
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            what, _, name = key.partition(".")
            by_parameter.setdefault(name, {})[what] = value
        for name, values in by_parameter.items():
            parameter = self._weights.trained[name]
            slots = self._optimiser.state[parameter]
            for what, value in values.items():
                if value.ndim == 0:
                    slots[what] = value.clone()
                else:
                    slots[what] = torch.zeros_like(parameter)
                    copy_into(slots[what], value)

    def checksum(self) -> float:
        """A number that is the same in all processes as long as replicas agree."""
        parts = [p.detach() for p in self._weights.trained.values() if not is_sharded(p)]
        return float(sum(part.double().abs().sum() for part in parts))

    def _share_of_rate(self) -> float:
        warmup = self._settings.warmup_updates
        if self.updates < warmup:
            return (self.updates + 1) / warmup
        if self._settings.schedule == "constant":
            return 1.0
        return (self._n_updates - self.updates) / (self._n_updates - warmup)

    def _sum_gradients(self) -> None:
        if self._processes.size == 1:
            return
        replicated = [p for p in self._weights.trained.values() if not is_sharded(p)]
        for parameter in replicated:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[Tensor] = []
        for parameter in replicated:
            assert parameter.grad is not None
            bucket.append(parameter.grad)
            if sum(part.numel() for part in bucket) >= _BUCKET:
                self._sum_bucket(bucket)
                bucket = []
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, gradients: list[Tensor]) -> None:
        flat = self._processes.sum(torch.cat([part.flatten().float() for part in gradients]))
        totals = torch.split(flat, [part.numel() for part in gradients])
        for part, total in zip(gradients, totals, strict=True):
            part.copy_(total.view_as(part))

    def _norm(self) -> float:
        device = next(iter(self._weights.trained.values())).device
        squares = torch.zeros(2, dtype=torch.float64, device=device)
        for parameter in self._weights.trained.values():
            if parameter.grad is not None:
                sharded = is_sharded(parameter)
                part = _local(parameter.grad).double().square().sum()
                squares[int(sharded)] += part
        sharded_square = self._processes.sum(squares[1:].clone())
        return float((squares[0] + sharded_square[0]).sqrt())


def _local(value: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return value.to_local() if isinstance(value, DTensor) else value
