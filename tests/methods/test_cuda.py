"""On a GPU methods learn what they learn on a CPU, in bf16: fast kernels, images on the device as bytes.

The tolerances are twice and more what bf16 autocast makes of the same rounds on a CPU.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import methods
from methods.clip import predict_logits
from methods.strategy import RoundStrategy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DEVICE = "cuda"
ROUNDING = 0.02  # of a cosine, in bf16 with 8 bits


def develop(name: str, base, stream, device: str, steps: int, lr: float = 1e-4, plugins=()) -> RoundStrategy:
    """A round of the method ``name`` on the toy stream."""
    strategy_class = methods.load(name)
    settings = strategy_class.SETTINGS(steps=steps, lr=lr)
    strategy = strategy_class(model=copy.deepcopy(base), settings=settings, device=device, plugins=plugins)
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


@pytest.mark.parametrize("name", ["finetune", "ewc", "lwf", "der++", "gem", "rm"])
def test_losses_are_those_of_a_cpu(name, toy_base, toy_stream):
    on_gpu, on_cpu = (
        torch.stack(develop(name, toy_base, toy_stream, device, steps=20).losses).cpu() for device in (DEVICE, "cpu")
    )
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["mds", "mds-no-heads"])
def test_constraints_are_those_of_a_cpu(name, toy_base, toy_stream):
    """Not mds-l1's: at its first step h = 0 up to rounding, which decides whether a class has any weight."""
    on_gpu, on_cpu = (
        torch.stack(develop(name, toy_base, toy_stream, device, steps=8, lr=3e-4).violations).cpu()
        for device in (DEVICE, "cpu")
    )
    assert on_cpu.abs().max() > 0.3
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0.05, atol=0.06)


def test_predictions_are_those_of_a_cpu(toy_base, toy_stream):
    model = develop("mds", toy_base, toy_stream, "cpu", steps=20).model
    images = toy_stream.data[0].test.images
    on_cpu, on_gpu = predict_logits(model, images), predict_logits(model.to(DEVICE), images)
    assert ((on_gpu - on_cpu).abs() * model.temperature).max() < ROUNDING
    top = on_cpu.topk(2).values
    clear = (top[:, 0] - top[:, 1]) * model.temperature > 2 * ROUNDING
    assert clear.float().mean() > 0.5 and torch.equal(on_gpu.argmax(1)[clear], on_cpu.argmax(1)[clear])
    assert (on_gpu.argmax(1) == on_cpu.argmax(1)).float().mean() >= 0.98


class Watch:
    """Keeps the round's pools of images, which the strategy drops after it."""

    def before_training_iteration(self, strategy: RoundStrategy, **kwargs) -> None:
        self.pools = (strategy.batches.target, strategy.batches.protected)


def test_images_lie_on_the_device_as_bytes_and_the_optimizer_is_fused(toy_base, toy_stream):
    watch = Watch()
    strategy = develop("mds", toy_base, toy_stream, DEVICE, steps=1, plugins=[watch])
    assert all(pool.images.device.type == DEVICE and pool.images.dtype == torch.uint8 for pool in watch.pools)
    assert strategy.optimizer.defaults["fused"]
    assert all(p.device.type == DEVICE and p.dtype == torch.float32 for p in strategy.model.parameters())


def test_attention_takes_fused_kernels(toy_base, toy_stream):
    """Flash or cuDNN for images; texts have a causal mask, which the memory-efficient kernel takes."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        develop("mds", toy_base, toy_stream, DEVICE, steps=2)
    names = {event.key for event in seen.key_averages() if "attention" in event.key}
    assert {"aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_cudnn_attention"} & names
    assert "aten::_scaled_dot_product_attention_math" not in names
