"""A round's training put aside between two steps, and taken up again in any process, bit for bit.

A strategy is pickled as it is, with all that it and its plugins hold, so no method has to say what its state is. What
the other process has anyway (the data, the base model, the method's class) is *outside*: what is reachable from there,
and each view of a tensor there, is written as the way to it, and found again. The global random numbers of torch, numpy
and Python are kept as well.

Not kept are the batch and the graph of the last step, and ``between_steps``. A suspended training is for the same code
and the same packages; as with every pickle, it is for those who wrote it.
"""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from methods.batches import StepBatches
from methods.strategy import RoundStrategy

KIND = "mds-bench suspended training 1"
LOOP = ("train", "_train_exp", "training_epoch")  # what ``RoundStrategy.resume`` enters halfway
NAMED = (str, bytes, int, float, type(None), FunctionType, MethodType, ModuleType, Enum)  # never looked into

Way = tuple[Any, ...]  # a name outside, then keys and attributes


def suspend(strategy: RoundStrategy, outside: Mapping[str, Any], file: BinaryIO) -> None:
    """Write a training that is between two steps; for ``RoundStrategy.between_steps``.

    Args:
        strategy: in training, by ``train(experience)`` or ``resume()``.
        outside: by name, what is not to be written: the class of the strategy, its data, the base model. Never the
            model that is trained, nor anything else that the training changes.
        file: to write to. Where this raises, its content is of no use.

    Raises:
        ValueError: the training cannot be resumed step by step, as the method has a loop of its own or holds something
            that cannot be pickled.
    """
    _check_loop(strategy)
    module = SimpleNamespace(__name__="pickle", Pickler=_pickler(strategy, outside))
    content = {"kind": KIND, "strategy": strategy, "random": _random_state()}
    try:
        torch.save(content, file, pickle_module=module, pickle_protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if found := _unpicklable(strategy, module.Pickler):
            raise ValueError(
                f"{type(strategy).__name__}: its {found} cannot be kept on disk, so the run cannot be resumed step by "
                f"step: {_line(error)}"
            ) from error
        raise


def restore(file: BinaryIO, outside: Mapping[str, Any]) -> RoundStrategy:
    """The training in ``file``, to go on by ``resume()``; global random numbers are set to what they were.

    Args:
        file: what ``suspend`` wrote, at its start.
        outside: as for ``suspend``; equal objects, of this process.

    Raises:
        ValueError: the file is damaged, or no suspended training, or one with other things outside.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():  # torch does not look at the checksums
                raise ValueError(f"{damaged} is damaged")
        file.seek(0)
        module = SimpleNamespace(__name__="pickle", Unpickler=_unpickler(outside))
        content = torch.load(file, pickle_module=module, weights_only=False)
        if not isinstance(content, dict) or content.get("kind") != KIND:
            raise ValueError("it holds something else")
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # unpickling may raise anything
        raise ValueError(f"is no suspended training of this run that can be read ({_line(error)})") from error
    strategy: RoundStrategy = content["strategy"]
    strategy.losses, strategy.violations = list(strategy.losses), list(strategy.violations)
    strategy.between_steps = None
    _set_random_state(content["random"])
    return strategy


def _check_loop(strategy: RoundStrategy) -> None:
    own = [name for name in LOOP if getattr(type(strategy), name) is not getattr(RoundStrategy, name)]
    if own or not isinstance(strategy.dataloader, StepBatches):
        what = f"a {own[0]} of its own" if own else "batches of its own"
        raise ValueError(f"{type(strategy).__name__}: has {what}, so the run cannot be resumed step by step")


def _state(strategy: RoundStrategy) -> dict[str, Any]:
    """The attributes that are kept; a number of tensors that grows with the steps, each of them in one."""
    state = vars(strategy) | {"mbatch": None, "mb_output": None, "loss": strategy.loss.detach()}
    state |= {name: torch.stack(state[name]).detach() for name in ("losses", "violations") if state[name]}
    del state["between_steps"]
    return state


# What is outside


def _outside(*way: Any) -> Any:
    """Stands in a file for what is found outside on a way; reading puts another function in its place."""
    raise AssertionError


def _view(tensor: Tensor, *place: Any) -> Tensor:
    return tensor.detach().as_strided(*place)


def _pickler(strategy: RoundStrategy, outside: Mapping[str, Any]) -> type[pickle.Pickler]:
    reachable = list(_reachable(outside))
    ways = {id(part): way for part, way in reachable}
    tensors = [part for part, _ in reachable if type(part) in (Tensor, nn.Parameter) and part.layout is torch.strided]
    owners = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors if tensor.numel()}

    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if value is strategy:
                return object.__new__, (type(value),), _state(value)
            if way := ways.get(id(value)):
                return _outside, way
            if type(value) is Tensor and value.layout is torch.strided and not value.requires_grad:
                owner = owners.get(value.untyped_storage().data_ptr())
                if owner is not None and owner.dtype == value.dtype:
                    return _view, (owner, value.size(), value.stride(), value.storage_offset())
            return NotImplemented

    return Pickler


def _unpickler(outside: Mapping[str, Any]) -> type[pickle.Unpickler]:
    def find(name: str, *keys: Any) -> Any:
        value = outside[name]
        for key in keys:
            value = value[key] if isinstance(value, dict | list | tuple) else getattr(value, key)
        return value

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return find if (module, name) == (__name__, _outside.__name__) else super().find_class(module, name)

    return Unpickler


def _reachable(outside: Mapping[str, Any]) -> Iterator[tuple[Any, Way]]:
    """What is outside and the things in it, with a way to each; not what pickle writes as a name or number anyway."""
    waiting: list[tuple[Any, Way]] = [(value, (name,)) for name, value in outside.items()]
    met = set()
    while waiting:
        value, way = waiting.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if len(way) == 1 or isinstance(value, np.ndarray) or hasattr(value, "__dict__"):
            yield value, way
        for key, part in _parts(value):
            followed = isinstance(part, type) if isinstance(value, type) else not isinstance(part, NAMED)
            if followed and isinstance(key, str | int):
                waiting.append((part, (*way, key)))


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """Elements or attributes, with their keys or names."""
    if isinstance(value, list | tuple):
        return enumerate(value)
    return (value if isinstance(value, dict) else getattr(value, "__dict__", {})).items()


# What goes wrong


def _unpicklable(strategy: RoundStrategy, pickler: type[pickle.Pickler]) -> str:
    """The innermost thing in a strategy that cannot be pickled, by where it is and its type; nothing if all can."""

    class Trial(pickler):  # type: ignore[valid-type, misc]
        def persistent_id(self, value: Any) -> Any:
            return "it" if value is strategy or isinstance(value, torch.TypedStorage | torch.UntypedStorage) else None

    def fails(value: Any) -> bool:
        try:
            Trial(io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        except Exception:
            return True
        return False

    return _innermost(_state(strategy), "", fails, set())


def _innermost(value: Any, path: str, fails: Callable[[Any], bool], met: set[int]) -> str:
    met.add(id(value))
    for key, part in _parts(value):
        if id(part) not in met and fails(part):
            return _innermost(part, f"{path}.{key}" if path else key, fails, met)
    return f"{path}, a {type(value).__name__}," if path else ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


# Random numbers


def _random_state() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
