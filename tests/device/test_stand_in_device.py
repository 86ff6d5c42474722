"""The stand-in refuses what a GPU refuses, counts what a GPU waits for, and else is the CPU."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.support.host_traffic import recorded
from tests.support.stand_in_device import StandInGenerator

pytestmark = pytest.mark.device

HOST = torch.arange(6.0).view(2, 3)


def trained(device: torch.device, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The weights of a small network after three updates with AdamW and clipped gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
        start = torch.randn(5, 3)
    model.to(device, dtype)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    x_BC = start.to(device, dtype)
    for _ in range(3):
        optimiser.zero_grad()
        hidden = checkpoint(model[:3], x_BC, use_reentrant=False)
        mixed: Any = nn.functional.scaled_dot_product_attention(
            hidden[None], hidden[None], model[3](hidden)[None]
        )
        mixed.square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimiser.step()
    return [parameter.detach().cpu() for parameter in model.parameters()]


@pytest.mark.parametrize(
    "mix",
    [
        lambda here: here + HOST,
        lambda here: HOST @ here.T,
        lambda here: torch.cat([here, HOST]),
        lambda here: torch.stack([here[0, 0], torch.tensor(1.0)]),
        lambda here: HOST.clone().add_(here),
        lambda here: torch.tensor(1.0).add_(here[0, 0]),
        lambda here: HOST[here[0].long() % 2],
        lambda here: nn.functional.linear(here, HOST),
        lambda here: nn.functional.embedding(torch.tensor([0]), here),
        lambda here: here.masked_fill(HOST > 1, 0.0),
        lambda here: here.index_put((torch.tensor([0]),), HOST[0]),
    ],
    ids=range(11),
)
def test_tensors_of_the_host_are_refused(
    stand_in: torch.device, mix: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(RuntimeError, match="on the same device"):
        mix(HOST.to(stand_in))


def test_numbers_and_indices_of_the_host_are_taken(stand_in: torch.device) -> None:
    here = HOST.to(stand_in)
    assert (here * torch.tensor(2.0) + 1).tolist() == (HOST * 2 + 1).tolist()
    assert here[torch.tensor([1])].tolist() == HOST[1:].tolist()
    assert torch.where(here > 2, here, torch.tensor(-1.0)).device == stand_in


def test_tensors_of_the_host_are_refused_in_other_threads_and_in_inference(
    stand_in: torch.device,
) -> None:
    problems: list[Exception] = []

    def mix() -> None:
        try:
            with torch.inference_mode():
                HOST.to(stand_in).matmul(HOST.T)
        except RuntimeError as problem:
            problems.append(problem)

    thread = threading.Thread(target=mix)
    thread.start()
    thread.join()
    assert "on the same device" in str(problems[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_gives_the_weights_of_the_cpu_to_the_last_bit(
    stand_in: torch.device, dtype: torch.dtype
) -> None:
    for here, there in zip(
        trained(stand_in, dtype), trained(torch.device("cpu"), dtype), strict=True
    ):
        assert here.dtype == dtype
        assert torch.equal(here, there)


def test_inference_gives_the_values_of_the_cpu_and_writes_in_place(stand_in: torch.device) -> None:
    def values(x: Tensor) -> Tensor:
        with torch.inference_mode():
            y = nn.functional.softmax(x.reshape(3, 2)[1:].to(torch.bfloat16).float().T, -1)
            y.add_(1)[0] = 3
            y[:, 1] = y[:, 0]
            torch.mul(y, 2, out=y)
            return y.cpu()

    assert torch.equal(values(HOST.to(stand_in)), values(HOST))


@pytest.mark.parametrize(
    ("ask", "waits"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: [float(one) for one in x[0]], 3),
        (lambda x: x.tolist(), 1),
        (lambda x: bool((x > 1).all()), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x.unique(), 1),
        (lambda x: torch.equal(x, x + 1), 1),
        (lambda x: torch.allclose(x, x + 1), 1),
        (lambda x: x.cpu().numpy(), 1),
        (lambda x: torch.empty(2, 3).copy_(x), 1),
        (lambda x: x.repeat_interleave((x[0] > 0).long(), dim=1), 1),
        (lambda x: x.to("cpu", non_blocking=True), 0),
        (lambda x: x.masked_fill(x > 1, 0.0).relu().sum(), 0),
        (lambda x: torch.where(x > 1, x, 0.0).masked_scatter(x > 1, x), 0),
        (lambda x: x.clone().index_put_((x > 1,), x.new_zeros(())), 0),
        (lambda x: HOST.sum().item(), 0),
    ],
    ids=range(17),
)
def test_the_host_waits_where_it_needs_a_value(
    stand_in: torch.device, ask: Callable[[Tensor], object], waits: int
) -> None:
    here = HOST.to(stand_in)
    with recorded() as traffic:
        ask(here)
    assert traffic.waits() == waits
    with torch.inference_mode(), recorded() as traffic:
        ask(here)
    assert traffic.waits() == waits


def test_uploads_are_counted_apart_from_waits(stand_in: torch.device) -> None:
    with recorded() as traffic:
        HOST.to(stand_in)[torch.tensor([0])].copy_(HOST[:1])
        torch.tensor([1, 2], device=stand_in)
        torch.zeros(3, device=stand_in)
        HOST.to(stand_in, non_blocking=True)
    assert (traffic.uploads(), traffic.waits()) == (4, 0)


def test_a_wait_names_the_line_and_the_functions_that_asked(stand_in: torch.device) -> None:
    def asking(x: Tensor) -> float:
        return x.max().item()

    with recorded() as traffic:
        asking(HOST.to(stand_in))
        asking(HOST.to(stand_in))
    [(place, number)] = traffic.by_place()
    assert number == 2
    assert place.startswith("tests/device/test_stand_in_device.py:")
    assert place.endswith(" asking (item)")
    assert traffic.waits(lambda event: event.within("asking", "stand_in_device.py")) == 2
    assert traffic.waits(lambda event: event.within("elsewhere") or event.by_optimiser) == 0


def test_waits_of_torchs_optimizer_are_known_as_such(stand_in: torch.device) -> None:
    weight = nn.Parameter(HOST.to(stand_in))
    weight.grad = torch.ones_like(weight)
    step = torch.tensor(1.0, device=stand_in)
    optimiser = torch.optim.AdamW([weight])
    optimiser.state[weight] |= {
        "step": step,
        "exp_avg": weight.grad.clone(),
        "exp_avg_sq": weight.grad.clone(),
    }
    with recorded() as traffic:
        optimiser.step()
    assert traffic.waits() == traffic.waits(lambda event: event.by_optimiser) > 0


def test_the_device_has_random_numbers_of_its_own(stand_in: torch.device) -> None:
    host = torch.get_rng_state()
    with torch.random.fork_rng(devices=[0], device_type="standin"):
        torch.standin.manual_seed(4)  # type: ignore[attr-defined]
        first = torch.randn(3, device=stand_in)
        second = nn.functional.dropout(torch.ones(9, device=stand_in), 0.5)
        torch.standin.manual_seed(4)  # type: ignore[attr-defined]
        assert torch.equal(torch.randn(3, device=stand_in), first)
        assert torch.equal(nn.functional.dropout(torch.ones_like(second), 0.5), second)
    assert torch.equal(torch.get_rng_state(), host)


def test_a_generator_belongs_to_one_device(stand_in: torch.device) -> None:
    own = StandInGenerator()
    own.manual_seed(3)
    expected = torch.randn(4, generator=torch.Generator().manual_seed(3))
    assert torch.randn(4, generator=own, device=stand_in).tolist() == expected.tolist()
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(4, generator=torch.Generator(), device=stand_in)


def test_data_that_is_replaced_is_what_is_computed_with(stand_in: torch.device) -> None:
    weight = nn.Parameter(HOST.to(stand_in, torch.bfloat16))
    weight.data = weight.data.float() + 1
    assert (weight * 1).tolist() == (HOST + 1).tolist()
    with pytest.raises(TypeError, match="host"):
        weight.data = HOST


def test_tensors_are_copied_deeply_saved_and_loaded(stand_in: torch.device) -> None:
    layer = nn.Linear(3, 3).to(stand_in)
    assert torch.equal(copy.deepcopy(layer).weight, layer.weight)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert loaded["weight"].device == stand_in
    assert torch.equal(loaded["weight"], layer.weight)


def test_a_shape_that_changes_in_place_is_the_shape(stand_in: torch.device) -> None:
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            turned = HOST.to(stand_in).clone().t_().unsqueeze_(0)
            assert (turned.shape, (turned + 1).sum(0).shape) == ((1, 3, 2), (3, 2))
            assert torch.arange(5, device=stand_in).view(1, -1).shape == (1, 5)
            assert torch.tensor([turned.sum(), 2.0], device=stand_in).tolist() == [15.0, 2.0]


def test_what_is_mapped_over_a_batch_runs_on_the_device(stand_in: torch.device) -> None:
    here = HOST.to(stand_in)
    rows = torch.vmap(lambda row: here[row] * 2)(torch.tensor([1, 0], device=stand_in))
    assert rows.device == stand_in
    assert rows.tolist() == (HOST.flip(0) * 2).tolist()


def test_only_a_copy_on_the_host_becomes_an_array(stand_in: torch.device) -> None:
    with pytest.raises(TypeError, match="numpy"):
        HOST.to(stand_in).numpy()
