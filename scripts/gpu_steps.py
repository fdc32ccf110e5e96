"""What a training step costs on this device: of MDS as it is here, and as its published code makes it.

The models are CLIP ViT-B/16 with random weights, the images random bytes: neither changes how long a step takes. Ours
runs through the product's own loop, twice: on images as they are, and with random views, which the old model sees too.
Without a GPU a small model stands in, and few images, prompts and steps do.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import open_clip
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.running.presets import preset
from methods.batches import ImagePool, StepBatches, generator
from methods.checkpoints import TINY, create_classifier, tokenizer_for
from methods.clip import ClipClassifier
from methods.mds import MDS, MDSSettings
from scenarios.places import prompt
from scenarios.render import PLACES, WEATHERS
from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData
from tests.speed.published_step import PublishedStep, Rows, product_loss, told_apart

GPU = torch.cuda.is_available()
WARM = 3  # steps before the clock starts
MOST = 300 if GPU else 2  # steps that are timed
PART = 1 if GPU else 8  # of a published batch
PER_CLASS = 8  # protected images
SIDE = 8192 if GPU else 1024  # of the matrices that show what the device can do


class Shape(NamedTuple):
    """A published step: the preset's images over these prompts; on a CPU an eighth of the images, and fewer prompts."""

    name: str
    scenario: str
    prompts: tuple[str, ...]
    constrained: tuple[int, int]  # of the published step: classes, and images of each


WEATHER = tuple(f"the weather is {name}." for name in WEATHERS)
SHAPES = (
    Shape("BDD100K", "bdd100k-foggy", WEATHER, (5, 10 if GPU else 2)),
    Shape(
        "Places365",
        "places365-dressing-room",
        tuple(map(prompt, PLACES if GPU else PLACES[:20])),
        (240 if GPU else 19, 2),
    ),
)


class Cost(NamedTuple):
    """Of one step: seconds, floating-point operations and the most memory in bytes."""

    seconds: float
    work: float
    memory: int


def measure(seconds: float, device: str) -> None:
    """Print a table for each shape; ``seconds`` is the time for all of it.

    Raises:
        AssertionError: on the same rows the product's loss is not the published one.
    """
    end = time.monotonic() + 0.8 * seconds  # the rest goes to building models and streams
    rate = matmul_rate(device)
    kind = "bf16" if GPU else "float32"
    print(f"A {kind} product of two {SIDE}×{SIDE} matrices runs at {rate / 1e12:.3g} TFLOP/s.", flush=True)
    for shape, share in zip(SHAPES, (0.4, 1.0), strict=True):
        compare(shape, share * (end - time.monotonic()), device, rate)


def compare(shape: Shape, seconds: float, device: str, rate: float) -> None:
    """Print the table of one shape."""
    paper = preset("paper", shape.scenario)
    settings = MDSSettings(**paper.settings | {"batch_size": paper.settings["batch_size"] // PART})
    architecture = paper.model if GPU else TINY
    model = create_classifier(shape.prompts, architecture).to(device)
    model.add_heads(settings.head_rank, generator(0, "heads"))
    stream = noise(shape, model.image_size)
    published, batch = published_step(shape, model, architecture, settings, stream, device)
    with torch.no_grad():
        ours, theirs = float(product_loss(model, settings, *batch)), float(published.loss(*batch))
    assert abs(ours - theirs) < (0.02 if GPU else 1e-4) * theirs, f"{shape.name}: a loss of {ours}, not {theirs}"

    varied = dataclasses.replace(stream, augment=True)
    sides: dict[str, Callable[[int], Cost]] = {
        "ours": lambda steps: develop(model, stream, settings, steps, device),
        "ours, random views": lambda steps: develop(model, varied, settings, steps, device),
        "published": lambda steps: repeat(lambda: published.step(*batch), steps),
    }
    print(f"\n| {shape.name} | ms | TFLOP | TFLOP/s | of the rate | peak memory | a whole run |\n{'|---' * 7}|")
    costs = {}
    for name, side in sides.items():
        try:
            costs[name] = timed(side, seconds / len(sides))
        except torch.OutOfMemoryError:
            print(f"| {name} | does not fit into the memory | | | | | |", flush=True)
            continue
        print(f"| {name} | {cells(costs[name], rate, settings.steps)} |", flush=True)
    print(f"\nOn the same rows our loss is {ours:.5g}, the published one {theirs:.5g}.", flush=True)
    if costs.keys() >= {"ours", "published"}:
        ratio = costs["published"].seconds / costs["ours"].seconds
        print(f"A published step takes {ratio:.1f} times as long as ours.", flush=True)


def published_step(
    shape: Shape,
    model: ClipClassifier,
    architecture: str,
    settings: MDSSettings,
    stream: DevelopmentStream,
    device: str,
) -> tuple[PublishedStep, tuple[Tensor, Tensor, Rows, Tensor]]:
    """The published step from the same weights, and a batch of the product's, with its rows told apart."""
    clip = open_clip.create_model(architecture).to(device)
    clip.load_state_dict(model.clip.state_dict())
    tokens = tokenizer_for(architecture, clip)(list(shape.prompts)).to(device)
    assert model.heads_in is not None and model.heads_out is not None
    heads, normalisation = (model.heads_in, model.heads_out), (model.mean, model.std)
    published = PublishedStep(clip, tokens, heads, settings, normalisation)
    target, protected = (ImagePool(part[0], torch.device(device)) for part in (stream.train, stream.protected))
    batches = StepBatches(target, protected, 1, settings.batch_size, settings.target_share, 0)
    x, y, _ = next(iter(batches))
    rows = told_apart(len(x), batches.targets_per_step, batches.classes_per_step, shape.constrained)
    rows = Rows(*(part.to(device) for part in rows))
    return published, (x, y, rows, torch.zeros(rows.constrained.shape, device=device))


def noise(shape: Shape, size: int) -> DevelopmentStream:
    """A stream of random bytes over the shape's classes; the last one is the target."""
    names = tuple(f"c{number}" for number in range(len(shape.prompts)))

    def images(labels: Tensor) -> LabelledImages:
        shape, rng = (len(labels), 3, size, size), generator(0, "noise")
        return LabelledImages(torch.randint(256, shape, dtype=torch.uint8, generator=rng), labels)

    target, scored = torch.full((256,), len(names) - 1), images(torch.arange(len(names)))
    kept = torch.arange(len(names) - 1).repeat_interleave(PER_CLASS)
    data = RoundData(images(target), images(kept), scored, scored)
    return DevelopmentStream("noise", 1, 0, names, shape.prompts, (Round(names[-1], names[:-1]),), (data,))


def develop(model: ClipClassifier, stream: DevelopmentStream, settings: MDSSettings, steps: int, device: str) -> Cost:
    """The cost of a step in a round of the product's own loop."""
    meter = Meter(steps)
    changed = settings.model_copy(update={"steps": steps})
    strategy = MDS(model=model, settings=changed, device=device, plugins=[meter])
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    assert torch.stack(strategy.losses).isfinite().all(), "a loss is not finite"
    return meter.cost


def repeat(step: Callable[[], None], steps: int) -> Cost:
    """The cost of a step that is made again and again."""
    meter = Meter(steps)
    for _ in range(steps):
        meter.before_training_iteration()
        step()
        meter.after_training_iteration()
    return meter.cost


class Meter(SupervisedPlugin):
    """Counts the operations of the first step, and takes the time from the end of the warm ones to that of the last."""

    supports_distributed = False
    cost: Cost

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.step = steps, 0
        self.counter = FlopCounterMode(display=False)

    def before_training_iteration(self, strategy: Any = None, **kwargs: Any) -> None:
        """Start counting, at the first step."""
        if self.step == 0:
            self.counter.__enter__()

    def after_training_iteration(self, strategy: Any = None, **kwargs: Any) -> None:
        """Stop counting after the first step, start the clock after the warm ones, read it after the last."""
        self.step += 1
        if self.step == 1:
            self.counter.__exit__(None, None, None)
        elif self.step == WARM:
            self.start = now()
            if GPU:
                torch.cuda.reset_peak_memory_stats()
        elif self.step == self.steps:
            memory = torch.cuda.max_memory_allocated() if GPU else 0
            self.cost = Cost((now() - self.start) / (self.steps - WARM), self.counter.get_total_flops(), memory)


def timed(side: Callable[[int], Cost], seconds: float) -> Cost:
    """The cost of a step, over as many as there is time for."""
    start = time.monotonic()
    first = side(WARM + 2)
    steps = min(MOST, int(0.9 * (seconds - (time.monotonic() - start)) / first.seconds))
    return side(WARM + steps) if steps > 2 else first


def cells(cost: Cost, rate: float, steps: int) -> str:
    """A line of the table, without its first cell."""
    speed = cost.work / cost.seconds
    told = f"{1e3 * cost.seconds:.1f} | {cost.work / 1e12:.3g} | {speed / 1e12:.3g} | {speed / rate:.0%}"
    if not GPU:
        return f"{told} | – | –"
    return f"{told} | {cost.memory / 2**30:.1f} GiB | {steps:,} steps: {steps * cost.seconds / 3600:.1f} h"


def matmul_rate(device: str) -> float:
    """Operations a second of a large product of random matrices: as fast as this device gets in practice."""
    dtype = torch.bfloat16 if GPU else torch.float32
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    start, times = now(), 20 if GPU else 3
    for _ in range(times):
        a @ b
    return times * 2 * SIDE**3 / (now() - start)


def now() -> float:
    """Seconds, once the device has done what it was told."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()
