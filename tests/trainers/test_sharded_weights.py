"""Weights in shards: what a process holds of them in each phase of a training step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn

from alphabench.core.errors import AlphaBenchError
from alphatrainers.distributed import Processes
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, StepInfo, TextScored
from alphatrainers.replay import Replayer, replay_request
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer_components import TrainerComponents, training_identity
from alphatrainers.weight_sets import WeightSets, is_sharded, sharded_units
from tests.support.toy_policy import IMAGE, PROMPTS, TEXT, ToyPolicy, ToyTask, program_of


class Lone(Processes):
    """One process of several whose others are not there."""

    def copy_from_first(self, tensor: torch.Tensor) -> None:
        """Nothing comes."""


@pytest.fixture
def lone() -> Iterator[Processes]:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
    yield Lone(rank=0, size=4)
    distributed.destroy_process_group()


def whole(units: list[nn.Module]) -> list[bool]:
    """Of each unit, whether this process holds all of its weights."""
    return [not any(map(is_sharded, unit.parameters())) for unit in units]


def test_generation_gathers_all_weights_and_replays_one_unit_after_the_other(
    lone: Processes,
) -> None:
    settings = TrainingSettings(steps=1, lora=None, parallel="shard")
    policy = ToyPolicy()
    weights = WeightSets(policy, settings, views=frozenset(), processes=lone)
    units = list(policy.units)
    program = program_of(PROMPTS[1], 0, StepInfo(step=0, seed=0, group_size=2), (TEXT, IMAGE))
    with weights.gathered():
        batch = policy.rollout([program])
        assert whole(units) == [True] * 3
    assert whole(units) == [False] * 3
    request = replay_request(
        batch, ImageLossSettings(), with_texts=True, device=torch.device("cpu")
    )
    seen = []
    for answer in Replayer(policy, weights, ReplaySpec()).replay(request, "train"):
        before = whole(units)
        summed(answer).backward()  # type: ignore[no-untyped-call]
        seen.append((before, whole(units)))
    assert seen == [([False] * 3, [False] * 3)] * 4, "one text and three steps"
    assert all(value.grad is not None for value in policy.module.cell.parameters())  # type: ignore[union-attr]


def summed(answer: ReplayAnswer) -> torch.Tensor:
    if isinstance(answer, TextScored):
        return torch.stack([one.sum() for one in answer.logp]).sum()
    return answer.v_BX.sum()


@pytest.fixture
def no_group() -> Iterator[None]:
    """Whoever makes a group of this process alone need not end it."""
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_bfloat16_computes_over_float32_weights_gradients_and_moments(no_group: None) -> None:
    settings = TrainingSettings(steps=1, lora=None, compute="bfloat16")
    policy = ToyPolicy()
    weights = WeightSets(policy, settings, views=frozenset(), processes=Processes())
    optimizer = WeightOptimizer(weights, settings.optimiser, Processes(), n_updates=1)
    types: set[torch.dtype] = set()
    policy.module.cell.register_forward_hook(  # type: ignore[union-attr]
        lambda module, args, output: types.add(output.dtype)
    )
    program = program_of(PROMPTS[1], 0, StepInfo(step=0, seed=0, group_size=2), (TEXT, IMAGE))
    with weights.gathered():
        batch = policy.rollout([program])
    request = replay_request(
        batch, ImageLossSettings(), with_texts=True, device=torch.device("cpu")
    )
    answers = []
    for answer in Replayer(policy, weights, ReplaySpec()).replay(request, "train"):
        summed(answer).backward()  # type: ignore[no-untyped-call]
        answers.append(answer)
    assert types == {torch.bfloat16}
    text = answers[0]
    assert isinstance(text, TextScored)
    assert torch.equal(text.logp[0], batch[0].texts[0].logp_T), "sampled and replayed alike"
    trained = weights.trained.values()
    assert {value.dtype for value in trained} == {torch.float32}
    assert {value.grad.dtype for value in trained if value.grad is not None} == {torch.float32}
    before = weights.values("train")
    optimizer.update()
    assert {value.dtype for value in optimizer.tensors().values()} == {torch.float32}
    moved = [value - before[name] for name, value in weights.values("train").items()]
    # Steps of 5e-5: bfloat16 would round nearly all of them away.
    assert all(float((one != 0).float().mean()) > 0.9 for one in moved)


def test_what_cannot_compute_in_bfloat16_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="compute=bfloat16 is for lora=null"):
        TrainingSettings(steps=1, compute="bfloat16")
    settings = TrainingSettings(steps=1, lora=None, compute="bfloat16")
    two = Processes(rank=0, size=2)
    with pytest.raises(AlphaBenchError, match="several processes needs weights in shards"):
        sharded_units(ToyPolicy(), settings, two, ())


def test_tf32_is_in_force_in_passes_alone() -> None:
    settings = TrainingSettings(steps=1, compute="tf32")
    weights = WeightSets(ToyPolicy(), settings, views=frozenset(), processes=Processes())
    before = torch.get_float32_matmul_precision()
    with weights.computing():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_folders_of_earlier_versions_know_no_such_setting() -> None:
    components = TrainerComponents(policy=ToyPolicy(), task=ToyTask(), rewards={}, prompts=PROMPTS)
    for compute, known in (("float32", False), ("bfloat16", True)):
        settings = TrainingSettings(steps=1, lora=None, compute=compute)  # type: ignore[arg-type]
        identity = training_identity(components, settings, prompts_digest="")
        assert ("compute" in identity["settings"]) == known


def test_only_the_process_that_writes_holds_complete_weights_on_its_cpu() -> None:
    found = {}
    for rank in (0, 1):
        policy, settings = ToyPolicy(), TrainingSettings(steps=1, lora=None)
        processes = Lone(rank=rank, size=2)
        weights = WeightSets(policy, settings, views=frozenset(), processes=processes)
        optimizer = WeightOptimizer(weights, settings.optimiser, processes, n_updates=1)
        optimizer.make_room(f"exp_avg.{name}" for name in weights.trained)
        found[rank] = len(weights.values("train")), len(optimizer.state())
    count = len(weights.trained)
    assert found == {0: (count, count), 1: (0, 0)}
