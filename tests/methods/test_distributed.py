"""A run on several devices is that of one device: here the ranks are processes on the CPU, over gloo."""

from __future__ import annotations

import copy
import os
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing import spawn

from methods import distributed

ROWS = 7  # of 3 ranks, one has more than the others
STEPS, BATCH = 4, 33  # 17 and 16 rows on two ranks

# AdamW moves a weight whose gradient is all rounding by the learning rate, 3e-4, whichever sign it has
TOLERANCE = {"losses": 1e-5, "constraints": 1e-5, "weights": 2e-3, "logits": 2e-3}

# each kind of work that is shared out, or that must not be: constraints, plain losses, importance of weights, gradients
# of a method's own, scores of weights, batch-wise teachers, candidates
CHOSEN = ("mds", "finetune", "ewc", "mas", "gem", "rcat", "linear-probe", "finetune+bcwi", "finetune+uwm-protect")


def on_ranks(count: int, work, folder: Path, *arguments) -> list:
    """What ``work(*arguments)`` returns on each of ``count`` processes, in a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_as_rank, (count, port, work, folder, arguments), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _as_rank(rank: int, count: int, port: int, work, folder: Path, arguments) -> None:
    os.environ.update(started(rank, count, port))
    torch.set_num_threads(1)
    if work is all_cases:  # without methods; Avalanche takes seconds to load
        sys.modules.setdefault("avalanche.training", ModuleType("avalanche.training"))
    with distributed.group("cpu") as given:
        assert given == rank
        torch.save(work(*arguments), folder / f"{rank}.pt")


def started(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a process in its environment."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in own.items()}


# What is shared out


class Tower(nn.Module):
    """A tower of two layers, one of them frozen, with a weight that nothing uses."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.norm, self.last = nn.Linear(4, 6), norm or nn.Identity(), nn.Linear(6, 5)
        self.frozen.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(2))
        self.rows: list[int] = []
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.last(self.norm(self.frozen(x)).tanh())


def example(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def loss_of(features: Tensor, scale: Tensor) -> Tensor:
    """Of the batch as a whole: every row depends on every other."""
    return (scale * features @ features.T).logsumexp(dim=1).mean()


def gradients(norm: nn.Module | None = None, rows: int = ROWS, images_too: bool = False) -> dict:
    """Everything that a method could ask of a tower and of a weight that all rows share."""
    tower, x = Tower(norm), example(rows).requires_grad_(images_too)
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = [*tower.last.parameters(), scale]
    one = distributed.divided(tower, x)
    seen = list(tower.rows)
    own = torch.autograd.grad(loss_of(one, scale), weights, retain_graph=True)
    (loss_of(one, scale) + distributed.divided(tower, x[:4]).square().mean()).backward()
    with torch.no_grad():
        quiet = distributed.divided(tower, x)
    accumulated = [p.grad.clone() for p in (*weights, *([x] if images_too else []))]
    distributed.average_gradients([*tower.parameters(), scale])
    averaged = [p.grad.clone() for p in weights]
    total = [torch.ones(()) * len(distributed.share(rows))]
    distributed.add_up(total)
    return {
        "values": [one.detach(), quiet, *own, *accumulated, *averaged, *total],
        "unused": [tower.unused.grad, tower.frozen.weight.grad],
        "rows": seen[0],
        "agreed": distributed.agreed(os.environ.get("RANK", "0")),
    }


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> list[list[dict]]:
    """What each of three ranks makes of each case."""
    return on_ranks(3, all_cases, tmp_path_factory.mktemp("ranks"))


CASES = {
    "shared out": {},
    "fewer rows than ranks": {"rows": 2},
    "batch statistics": {"norm": nn.BatchNorm1d(6)},
    "fixed statistics": {"norm": nn.BatchNorm1d(6).eval()},
    "images with a gradient": {"images_too": True},
}
DIVIDED = {"shared out", "fixed statistics"}


def all_cases() -> list[dict]:
    return [*(gradients(**copy.deepcopy(case)) for case in CASES.values()), curvature()]


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_whole_batch_on_every_rank(case, three):
    alone, number = gradients(**copy.deepcopy(CASES[case])), list(CASES).index(case)
    for rank in three:
        for found, wanted, first in zip(
            rank[number]["values"], alone["values"], three[0][number]["values"], strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
            assert torch.equal(found, first)
        assert rank[number]["unused"] == alone["unused"] == [None, None]
        assert rank[number]["agreed"] == "0"


@pytest.mark.parametrize("case", CASES)
def test_rows_are_shared_out_evenly_where_they_can_be(case, three):
    rows = [rank[list(CASES).index(case)]["rows"] for rank in three]
    whole = CASES[case].get("rows", ROWS)
    assert (sum(rows) == whole and max(rows) - min(rows) == 1) if case in DIVIDED else rows == [whole] * 3


def curvature() -> dict:
    """What comes of a gradient's gradient, and what ``undivided`` leaves whole."""
    tower = Tower()
    features = distributed.divided(tower, example())
    (first,) = torch.autograd.grad(features.square().sum(), tower.last.weight, create_graph=True)
    with pytest.raises(RuntimeError) as error:
        first.sum().backward()
    with distributed.undivided():
        distributed.divided(tower, example())
        return {"error": str(error.value), "rows": tower.rows[-1], "share": list(distributed.share(ROWS))}


def test_a_second_derivative_is_refused_rather_than_wrong(three):
    assert all("differentiate twice" in rank[-1]["error"] for rank in three)


def test_what_is_undivided_is_done_by_every_rank(three):
    assert all(rank[-1]["rows"] == ROWS and rank[-1]["share"] == list(range(ROWS)) for rank in three)


# The group


def test_a_process_alone_is_rank_0_and_does_everything():
    with distributed.group("cpu") as rank:
        assert rank == 0 and list(distributed.share(5)) == list(range(5)) and distributed.agreed("mine") == "mine"
        assert not torch.distributed.is_initialized()


def test_processes_that_torchrun_did_not_start_are_told_so(monkeypatch):
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match=r"without LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start with torchrun"):
        distributed.group("cpu").__enter__()


def test_more_processes_than_devices_are_refused(monkeypatch):
    for name, value in started(rank=3, count=4, port=1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="more processes than the 2 CUDA devices"):
        distributed.group("cuda").__enter__()


# Methods


def develop_all(names: list[str], base: Path) -> dict[str, dict]:
    """Each method's round on the toy stream, of a CLIP model; mds on another classifier; the training of a base."""
    from benchmark.running.pretrain import Recipe, pretrain
    from tests.conftest import make_toy_stream
    from tests.methods.developing import develop

    stream, model = make_toy_stream(seed=0), torch.load(base, weights_only=False)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 6))
    recipe = Recipe(steps=STEPS, batch_size=BATCH, anchor_steps=STEPS, fit_steps=STEPS)
    return {name: outcome(develop(name, model, stream, **fast(name)), stream) for name in names} | {
        "plain": outcome(develop("mds", plain, stream, **fast("mds")), stream),
        "base": {"weights": weights_of(pretrain(stream.pretraining(), stream.prompts, recipe))},
    }


def fast(name: str) -> dict:
    """Settings of a short round with batches that do not divide evenly, and little to measure importance on."""
    from methods import load

    wanted = {"steps": STEPS, "batch_size": BATCH} | dict.fromkeys(load(name).SETTINGS.quick(), 7)
    wanted["distance"] = "l2"  # pct's divergence multiplies differences of logarithms, and their rounding, by 10,000
    fields = load(name).SETTINGS.model_fields
    return {key: value for key, value in wanted.items() if key in fields and load(name).trains}


def outcome(strategy, stream) -> dict:
    from methods.clip import predict_logits

    images, proposed = stream.data[0].test.images[:31], []
    weights, logits = weights_of(strategy.model), predict_logits(strategy.model, images)
    strategy.propose(lambda name: proposed.append(predict_logits(strategy.model, images)) or len(proposed))
    return {
        "losses": torch.stack(strategy.losses) if strategy.losses else torch.empty(0),
        "constraints": torch.stack(strategy.violations) if strategy.violations else torch.empty(0),
        "weights": weights,
        "logits": torch.stack([logits, *proposed]),
    }


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def check_methods(names: list[str], ranks: int, base, folder: Path) -> None:
    torch.save(base, folder / "base.pt")
    alone = develop_all(names, folder / "base.pt")
    together = on_ranks(ranks, develop_all, folder, names, folder / "base.pt")
    wrong = []
    for name, part in [(name, part) for name, parts in alone.items() for part in parts]:
        wanted, (first, *others) = alone[name][part], [rank[name][part] for rank in together]
        wrong += [f"{name}: ranks differ in {part}" for other in others if not torch.equal(other, first)]
        if not torch.allclose(first, wanted, rtol=TOLERANCE[part], atol=TOLERANCE[part]):
            wrong.append(f"{name}: {part} differ by up to {(first - wanted).abs().max():.2g}")
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_chosen_methods_on_several_ranks_do_what_they_do_on_one(ranks, toy_base, tmp_path):
    check_methods(list(CHOSEN), ranks, toy_base, tmp_path)


@pytest.mark.slow
def test_every_method_on_two_ranks_does_what_it_does_on_one(toy_base, tmp_path):
    from methods import missing_extra
    from tests.methods.developing import RUNNABLE

    chosen = [name for name in RUNNABLE if name not in CHOSEN and not missing_extra(name)]
    check_methods(chosen, 2, toy_base, tmp_path)
