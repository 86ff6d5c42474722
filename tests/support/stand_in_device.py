"""A stand-in for an accelerator: torch's device `standin:0`, whose tensors the CPU computes.

As on a GPU, its tensors refuse to meet tensors of the host, in every thread; only plain numbers
(tensors without dimensions, in pointwise operations) and indices may come from the host. It has
random numbers of its own and takes no generator of another device. `host_traffic.recorded` counts
what the host asks of it. Since the arithmetic is the CPU's, results are the CPU's.

It does not know: storages, streams, more than one device. `install` is for the life of the process
and comes before its first backward pass: `conftest.py` calls it where device tests are collected,
and they ask for the fixture `stand_in`.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.support.host_traffic import report

NAME: Final = "standin"
_KEY: Final = "PrivateUse1"
_HOST: Final = torch.device("cpu")
_aten: Final = torch.ops.aten
_COPIES: Final = (_aten.copy_, _aten._to_copy)
_INDEXED: Final = (
    _aten.index,
    _aten._unsafe_index,
    _aten.index_put,
    _aten.index_put_,
    _aten._index_put_impl_,
)
_WAITS: Final[dict[Any, str]] = {
    _aten._local_scalar_dense: "item",
    _aten.is_nonzero: "item",
    _aten.nonzero: "nonzero",
    _aten.masked_select: "masked_select",
    _aten.equal: "equal",
    _aten.allclose: "allclose",
    _aten._unique2: "unique",
    _aten.unique_dim: "unique",
    _aten.unique_consecutive: "unique",
    _aten.bincount: "bincount",
}
"""Operations whose result, or its shape, the host must know before it goes on."""


class StandInTensor(Tensor):
    """A tensor on the stand-in; `host` holds its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> StandInTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=torch.device(NAME, 0),
        )
        made.host = host
        assert isinstance(made, StandInTensor)
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run_below(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        got: Tensor = torch.Tensor.data.__get__(self)  # type: ignore[attr-defined]
        return got

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, StandInTensor):
            raise TypeError(f"the data of a tensor on {NAME}:0 cannot be set to one on the host")
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.host = value.host

    def tolist(self) -> Any:
        """As one wait, however many numbers there are."""
        _wait("tolist")
        return self.host.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused as for a GPU's tensors, unless forced."""
        if not force:
            raise TypeError(f"can't convert a tensor on {NAME}:0 to numpy: copy it with .cpu()")
        return self.detach().cpu().numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _to_stand_in, (self.detach().cpu(), self.requires_grad)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"StandInTensor({self.host!r})"


_generators: set[int] = set()
"""Addresses of those made here: torch passes a generator on as an object of its own class."""


class StandInGenerator(torch.Generator):
    """Random numbers for the stand-in; `torch.Generator(NAME)` would need a device made in C++."""

    def __init__(self) -> None:
        super().__init__()
        address = _address(self)
        _generators.add(address)
        weakref.finalize(self, _generators.discard, address)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device(NAME, 0)


def _address(generator: torch.Generator) -> int:
    found: int = generator._cdata  # type: ignore[attr-defined]
    return found


class _Stream:
    """The only queue of the device."""

    def synchronize(self) -> None:
        _wait("synchronize")

    def wait_stream(self, other: Any) -> None:
        del other


class _DeviceModule:
    """`torch.standin`: what torch and the libraries ask of an accelerator's module."""

    _initialized = True

    def __init__(self) -> None:
        self.random = StandInGenerator()
        self.random.manual_seed(0)
        self._stream = _Stream()

    class device:  # noqa: N801 - named as in torch.cuda
        """A context that selects a device; there is only one."""

        def __init__(self, device: Any) -> None:
            del device

        def __enter__(self) -> None: ...

        def __exit__(self, *problem: object) -> None: ...

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: Any) -> None:
        del device

    def current_stream(self, device: Any = None) -> _Stream:
        del device
        return self._stream

    def stream(self, stream: Any) -> contextlib.AbstractContextManager[None]:
        del stream
        return contextlib.nullcontext()

    def synchronize(self, device: Any = None) -> None:
        _wait("synchronize")

    def empty_cache(self) -> None: ...

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.random.manual_seed(seed)

    def manual_seed(self, seed: int) -> None:
        self.random.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.random.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.random.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_module = _DeviceModule()
_libraries: list[Any] = []
"""What was registered lasts as long as these."""
_random_lock = threading.Lock()


def install() -> torch.device:
    """The stand-in, which the first call registers with torch for the life of the process."""
    if not _libraries:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_module)
        _libraries.extend(_register_operations())
    return torch.device(NAME, 0)


def _register_operations() -> list[Any]:
    """One kernel for all of torch's operations, and a fallback for those of other libraries.

    A fallback alone is not found where torch passes by `__torch_dispatch__`: within `vmap`, and
    where `torch.tensor` is given a list of tensors.
    """
    own: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    kernels = torch._C._dispatch_has_kernel_for_dispatch_key
    for name in torch._C._dispatch_get_all_op_names():
        library, _, operation = name.partition("::")
        if library != "aten" or kernels(name, "CompositeImplicitAutograd"):
            continue
        packet, _, overload = operation.partition(".")
        func = getattr(getattr(_aten, packet), overload or "default", None)
        if func is not None:
            own.impl(operation, partial(_kernel, func), _KEY)
    others: Any = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    others.fallback(_kernel, _KEY)
    return [own, others]


def _kernel(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _run_below(func, args, kwargs)


@contextmanager
def in_use() -> Iterator[torch.device]:
    """The stand-in within a test: `torch.tensor(list, device=...)` uploads, as on a GPU."""
    device = install()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _to_stand_in(host: Tensor, requires_grad: bool) -> Tensor:
    return host.to(install()).requires_grad_(requires_grad)


def _wait(kind: str) -> None:
    report(kind, hidden=__file__)


def _run_below(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operation as below autograd, where torch's inference mode makes no difference."""
    if not torch.is_inference_mode_enabled():
        return _run(func, args, kwargs)
    parts = func.decompose(*args, **kwargs)  # this mode passes composite operations on whole
    if parts is not NotImplemented:
        return parts
    with torch.inference_mode(False), torch.no_grad():
        return _run(func, args, kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation on the hosts of its tensors; its results are on the device where it ran."""
    packet = func.overloadpacket
    here: dict[int, StandInTensor] = {}
    guests: list[Tensor] = []

    def host_of(one: Tensor) -> Tensor:
        if isinstance(one, StandInTensor):
            here[id(one.host)] = one
            return one.host
        guests.append(one)
        return one

    plain = [_mapped(one, host_of) for one in args]
    named = {name: _mapped(one, host_of) for name, one in kwargs.items()}
    wanted = kwargs.get("device")
    lands = bool(here) if wanted is None else torch.device(wanted).type == NAME
    if here and guests and packet not in _COPIES:
        _refuse_guests(func, args, guests)
    _count(packet, args, kwargs, bool(here), lands)
    if wanted is not None and lands:
        named["device"] = _HOST
    result = _computed(func, plain, named, device=bool(here) or lands)
    if packet is _aten._local_scalar_dense or not lands:
        return result
    if func._schema.is_mutable:
        for own in here.values():
            _follow(own)

    def wrapped(one: Tensor) -> Tensor:
        own = here.get(id(one))  # written in place, or given as `out`
        return StandInTensor(one) if own is None else own

    return _mapped(result, wrapped)


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The tensors of an argument or a result changed; those hold no other containers."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, list | tuple):
        return [_mapped(one, change) for one in tree]
    return tree


def _refuse_guests(func: Any, args: Any, guests: list[Tensor]) -> None:
    """Raises where a GPU would: tensors of the host among those of the device."""
    packet = func.overloadpacket
    own = isinstance(args[0], StandInTensor) if args else True
    if packet in _INDEXED:
        values = [args[2]] if len(args) > 2 else []
        if own and all(one.dim() == 0 for one in values if _is_guest(one)):
            return
    numbers = all(one.dim() == 0 for one in guests)
    written = func._schema.is_mutable and _is_guest(args[0])
    if torch.Tag.pointwise in func.tags and numbers and not written:
        return
    shapes = [tuple(one.shape) for one in guests]
    raise RuntimeError(
        f"{func}: expected all tensors to be on the same device, but found at least two devices, "
        f"{NAME}:0 and cpu; those of the host have shapes {shapes}"
    )


def _is_guest(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and not isinstance(leaf, StandInTensor)


def _count(packet: Any, args: Any, kwargs: dict[str, Any], here: bool, lands: bool) -> None:
    """Reports what makes the host wait."""
    if packet in _WAITS and here:
        _wait(_WAITS[packet])
    elif packet is _aten._to_copy and here != lands and not kwargs.get("non_blocking"):
        _wait("copy to the host" if here else "upload")
    elif packet is _aten.copy_:
        target, source, *others = args
        blocking = not (kwargs.get("non_blocking") or any(others))
        if blocking and _is_guest(target) != _is_guest(source):
            _wait("copy to the host" if _is_guest(target) else "upload")
    elif packet is _aten.repeat_interleave and here and kwargs.get("output_size") is None:
        _wait("repeat_interleave")
    elif packet in _INDEXED and here:
        _count_indexing(packet, args)


def _count_indexing(packet: Any, args: Any) -> None:
    """A mask is turned into positions, which waits; an index of the host is uploaded."""
    indices = [one for one in args[1] if isinstance(one, Tensor)]
    masks = [one for one in indices if one.dtype in (torch.bool, torch.uint8)]
    fills = packet not in (_aten.index, _aten._unsafe_index) and args[2].numel() == 1
    if any(_is_guest(one) for one in indices):
        _wait("upload of an index")
    if any(not _is_guest(one) for one in masks) and not (fills and len(indices) == 1):
        _wait("index by a mask")


def _computed(func: Any, plain: Any, named: dict[str, Any], *, device: bool) -> Any:
    """The operation, on the CPU; random numbers are the stand-in's own."""
    given = named.get("generator")
    if given is not None and device and _address(given) not in _generators:
        raise RuntimeError(f"expected a {NAME!r} generator for {func}, but found 'cpu'")
    if not device or given is not None or torch.Tag.nondeterministic_seeded not in func.tags:
        return func(*plain, **named)
    with _random_lock:
        hosts = torch.get_rng_state()
        torch.set_rng_state(_module.random.get_state())
        try:
            return func(*plain, **named)
        finally:
            _module.random.set_state(torch.get_rng_state())
            torch.set_rng_state(hosts)


def _follow(own: StandInTensor) -> None:
    """Gives a tensor the shape that an operation in place, or with `out`, has given its host."""
    if own.shape != own.host.shape or own.stride() != own.host.stride():
        torch.Tensor.data.__set__(own, StandInTensor(own.host))  # type: ignore[attr-defined]
