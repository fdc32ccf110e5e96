"""One run on several devices, as ``torchrun`` starts them: the rows of every image batch are shared out.

Every rank makes the same batch, for batches are a function of seed and step. Each passes its share of the rows through
the image tower and receives the features of all the others, so that what follows (text tower, loss, moving averages,
constraints, scores) is that of the whole batch, and the same on every rank. No method takes notice:

* gradients by the tower's weights are summed over the ranks as they are made, so ``backward`` and ``autograd.grad``
  give every rank the whole batch's, also to methods that clip, project or compare them;
* plugins see one batch, one loss and one model, as in a single process.

Whatever does not pass through ``divided``, as a classifier that is no CLIP model, is computed by every rank in full.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")

_sharing: ContextVar[bool] = ContextVar("sharing", default=False)  # whether the ranks do different parts of the work


@contextmanager
def group(device: str) -> Iterator[int]:
    """Within it, this process and the others that ``torchrun`` started share the work; alone, it does all of it.

    Args:
        device: ``cuda``, which then means the device of this process's LOCAL_RANK, over NCCL; or ``cpu``, over gloo.

    Yields:
        The rank: 0 is the one to print and to write files.

    Raises:
        ValueError: the processes were not started by ``torchrun``, or are more than the machine's devices.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(f"WORLD_SIZE is set without {', '.join(missing)}: start with torchrun, or unset it")
    import_module("avalanche.training")  # makes a logger as it is loaded, which it forbids once there is a group
    own = _own_device() if device == "cuda" else None
    dist.init_process_group("gloo" if own is None else "nccl", device_id=own)
    token = _sharing.set(True)
    try:
        yield dist.get_rank()
    finally:
        _sharing.reset(token)
        dist.destroy_process_group()


def _own_device() -> torch.device:
    """The CUDA device of this process, made the current one."""
    number, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= devices:
        raise ValueError(f"torchrun --nproc-per-node: more processes than the {devices} CUDA devices: start fewer")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def undivided() -> Iterator[None]:
    """Within it every rank does all of the work: for what looks into a model at each of its rows."""
    token = _sharing.set(False)
    try:
        yield
    finally:
        _sharing.reset(token)


def agreed(value: T) -> T:
    """Rank 0's ``value`` on every rank, for decisions that depend on more than the run, such as on files."""
    box = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(box)
    return box[0]


def share(count: int) -> range:
    """The part of ``count`` rows or tasks that this rank does: ranks differ by one at the most."""
    if not _sharing.get():
        return range(count)
    rank, size = dist.get_rank(), dist.get_world_size()
    return range(count * rank // size, count * (rank + 1) // size)


def divided(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, (B, ...), with the rows of ``x`` shared out; values and gradients are those of all rows.

    Not shared out are fewer rows than ranks, and those that depend on each other: through batch statistics, or an ``x``
    with a gradient of its own.
    """
    if not _sharing.get() or len(x) < dist.get_world_size() or x.requires_grad or _has_batch_statistics(module):
        return module(x)
    rows = share(len(x))
    own = x[rows.start : rows.stop]
    weights = {name: p for name, p in module.named_parameters() if p.requires_grad and torch.is_grad_enabled()}
    if weights:
        summed = dict(zip(weights, _SummedGradients.apply(*weights.values()), strict=True))
        return _Gathered.apply(functional_call(module, summed, (own,)), rows, len(x))
    return _Gathered.apply(module(own), rows, len(x))


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over the ranks, each of which has done its ``share``."""
    tensors = list(tensors)
    if _sharing.get():
        torch._foreach_copy_(tensors, _total(tensors))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over the ranks.

    They are alike already, but for last bits on GPUs, where attention's backward pass is not deterministic: without
    this the ranks' weights would drift apart.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if _sharing.get() and gradients:
        add_up(gradients)
        torch._foreach_div_(gradients, dist.get_world_size())


class _SummedGradients(torch.autograd.Function):
    """Tensors as they are; backward, their gradients are summed over the ranks. One that none reaches has none."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        totals = iter(_total([gradient for gradient in gradients if gradient is not None]))
        return tuple(None if gradient is None else next(totals) for gradient in gradients)


class _Gathered(torch.autograd.Function):
    """This rank's ``rows`` of a batch of ``count`` -> the rows of all ranks; backward, the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: range, count: int) -> Tensor:
        ctx.rows = rows
        whole = own.new_zeros(count, *own.shape[1:])
        whole[rows.start : rows.stop] = own
        dist.all_reduce(whole)  # every row has one summand that is not zero
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.rows.start : ctx.rows.stop], None, None


def _total(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over the ranks, in one message."""
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(joined)
    parts = joined.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _has_batch_statistics(module: nn.Module) -> bool:
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())
