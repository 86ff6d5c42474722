"""Values of which each process holds a part: each one writes its own, any number reads them.

Files are safetensors, through torch.distributed.checkpoint; a value is put together from the parts
that a process needs, so that another number of processes can read what one number has written.
Knows no training.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Size, Tensor

from alphabench.core.errors import AlphaBenchError, DamagedError

FILES = "*.safetensors"
"""What `write_shards` writes."""
FILE_BYTES: Final = 2**30
"""Of a process's part that go into one file, unless one value has more: torch holds a file in
memory as a whole while it writes it."""


def can_write_shards() -> bool:
    """Whether this version of torch writes parts as safetensors."""
    writer = getattr(_torchs(), "HuggingFaceStorageWriter", None)
    return writer is not None and "save_distributed" in inspect.signature(writer).parameters


def copied_parts(values: Mapping[str, Tensor], group: Any) -> dict[str, Tensor]:
    """Copies of this process's parts in the memory of its CPU; nothing is gathered.

    Args:
        values: DTensors, on any device.
        group: of the processes that have the other parts, for CPUs.

    Returns:
        DTensors with the same shapes and parts, for `write_shards`.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

    mesh = DeviceMesh.from_group(group, "cpu")
    copies: dict[str, Tensor] = {}
    for name, value in values.items():
        whole: Any = value.detach()
        copies[name] = DTensor.from_local(
            whole.to_local().to("cpu", copy=True),
            mesh,
            whole.placements,
            run_check=False,
            shape=whole.shape,
            stride=whole.stride(),
        )
    return copies


def write_shards(folder: Path, values: Mapping[str, Tensor], *, group: Any = None) -> None:
    """Writes this process's parts; all processes call it, with the same names.

    Args:
        folder: shared by all processes.
        values: DTensors.
        group: of the processes; None is that of all. No other thread may use it meanwhile.

    Raises:
        AlphaBenchError: one of the processes could not write.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    checkpoint = _torchs()
    writer = checkpoint.HuggingFaceStorageWriter(
        str(folder), save_distributed=True, fqn_to_index_mapping=_files_of(values)
    )
    try:
        checkpoint.save(dict(values), storage_writer=writer, process_group=group)
    except (CheckpointException, OSError) as error:
        raise AlphaBenchError(
            f"the shards in {str(folder)!r} cannot be written ({_reason(error)})",
            hint="check its disk and its permissions on all machines; earlier checkpoints are "
            "intact: continue with --resume",
        ) from error


def names_of_shards(folder: Path) -> set[str]:
    """The names of the values in a folder.

    Raises:
        DamagedError: it cannot be read.
    """
    return set(shapes_of_shards(folder))


def shapes_of_shards(folder: Path) -> dict[str, Size]:
    """The complete shapes of the values in a folder, by name.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        reader = _torchs().HuggingFaceStorageReader(str(folder))
        known = reader.read_metadata().state_dict_metadata
        return {name: value.size for name, value in known.items()}
    except Exception as error:
        raise _damaged(folder, error) from error


def read_shards(folder: Path, values: Mapping[str, Tensor]) -> None:
    """Reads this process's parts into `values`, in place; all processes of a group call it.

    Args:
        folder: that `write_shards` has filled, with any number of processes.
        values: DTensors, or full tensors.

    Raises:
        DamagedError: a file or a value is missing, or has another shape.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    checkpoint = _torchs()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            reader = checkpoint.HuggingFaceStorageReader(str(folder))
            checkpoint.load(dict(values), storage_reader=reader)
    except (CheckpointException, OSError, ValueError, KeyError) as error:
        raise _damaged(folder, error) from error


def _files_of(values: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of the file, from 1, that takes a process's part of each value."""
    files: dict[str, int] = {}
    file, held = 1, 0
    for name, value in values.items():
        mesh: Any = getattr(value, "device_mesh", None)
        part = value.numel() * value.element_size() // (1 if mesh is None else mesh.size())
        if held > 0 and held + part > FILE_BYTES:
            file, held = file + 1, 0
        files[name] = file
        held += part
    return files


def _torchs() -> Any:
    """The package, whose names torch does not declare as exports."""
    from torch.distributed import checkpoint

    return checkpoint


def _damaged(folder: Path, error: BaseException) -> DamagedError:
    return DamagedError(
        f"the shards in {str(folder)!r} cannot be read ({_reason(error)})",
        hint="restore them from a copy, or begin anew in another folder",
    )


def _reason(error: BaseException) -> str:
    failures: Any = getattr(error, "failures", None)
    causes = [str(cause[0]) for cause in failures.values()] if failures else [str(error)]
    return "; ".join(sorted({cause.splitlines()[0] for cause in causes if cause}))
