from __future__ import annotations

import torch

from alphabench.device_transfer import fetched, sent


def test_tensors_on_the_cpu_are_returned_as_they_are() -> None:
    tensors = [torch.ones(2, 3), torch.tensor(4)]
    assert [one is other for one, other in zip(fetched(tensors), tensors, strict=True)] == [
        True,
        True,
    ]
    assert fetched([]) == []


def test_what_is_sent_takes_the_type_that_is_asked_for() -> None:
    assert sent(torch.ones(2), "cpu").dtype == torch.float32
    assert sent(torch.ones(2), "cpu", torch.bfloat16).dtype == torch.bfloat16
