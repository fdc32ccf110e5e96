"""The classifier against open_clip itself, its heads, and its files."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F

import methods
from methods.checkpoints import checkpoint_bytes, create_classifier, load_checkpoint
from methods.clip import ClipClassifier, predict_logits
from methods.tokenizer import ByteTokenizer

PROMPTS = ("the weather is clear.", "the weather is partly cloudy.", "das Wetter ist neblig, trüb.")


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    torch.manual_seed(0)
    return create_classifier(PROMPTS).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_logits_are_open_clips_own_cosines(model, images):
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    pixels = (images.float() / 255 - mean) / std
    image_features = model.clip.encode_image(pixels, normalize=True)
    text_features = model.clip.encode_text(ByteTokenizer(77)(PROMPTS), normalize=True)  # padded to 77, not cut
    torch.testing.assert_close(model(images), image_features @ text_features.T / 0.05, atol=2e-5, rtol=1e-5)


def test_prompts_are_cut_to_the_longest(model):
    assert model.tokens.shape == (3, max(len(p.encode()) for p in PROMPTS) + 2)


def test_a_standard_architecture_is_cut_too():
    prompts = ("a dog.", "a red bus in the rain.")
    torch.manual_seed(0)
    small = ClipClassifier(open_clip.create_model("RN50-quickgelu"), prompts, open_clip.get_tokenizer("RN50-quickgelu"))
    assert small.tokens.shape == (2, 9)
    full = small.clip.encode_text(open_clip.get_tokenizer("RN50-quickgelu")(list(prompts)), normalize=True)
    torch.testing.assert_close(small.encode_classes(), full, atol=1e-5, rtol=1e-4)


def test_float_and_byte_images_agree(model, images):
    assert torch.equal(model(images), model(images.float() / 255))


def test_predict_equals_forward_in_batches_and_restores_the_mode(model, images):
    model.train()
    got = predict_logits(model, images, batch_size=3)
    assert model.training
    model.eval()
    torch.testing.assert_close(got, model(images).detach(), atol=1e-5, rtol=1e-5)


def test_heads_leave_the_function_bit_for_bit_and_stay(images):
    torch.manual_seed(0)
    model = create_classifier(PROMPTS)
    before = model(images)
    model.add_heads(4, torch.Generator().manual_seed(1))
    assert torch.equal(model(images), before)
    heads = model.heads_in
    model.add_heads(4, torch.Generator().manual_seed(2))
    assert model.heads_in is heads


def test_a_head_is_a_low_rank_change_of_its_own_class_alone(images):
    torch.manual_seed(0)
    model = create_classifier(PROMPTS)
    before = model.encode_classes()
    model.add_heads(4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.heads_out[1].normal_(generator=torch.Generator().manual_seed(2))
        after = model.encode_classes()
        changed = model.clip.text_projection.clone()
        model.clip.text_projection += model.heads_in[1] @ model.heads_out[1]
        model.heads_out.zero_()
        whole = model.encode_classes()
        model.clip.text_projection.copy_(changed)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    torch.testing.assert_close(after[1], whole[1], atol=1e-6, rtol=1e-5)


def test_the_text_tower_is_trained(model, images):
    model.zero_grad()
    F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0, 1, 2, 0])).backward()
    for name in ("token_embedding.weight", "text_projection", "visual.conv1.weight"):
        gradient = dict(model.clip.named_parameters())[name].grad
        assert gradient is not None and gradient.abs().sum() > 0, name


def test_wrong_image_size_says_so(model):
    with pytest.raises(ValueError, match="takes 64 px"):
        model(torch.zeros(1, 3, 32, 32))


def test_long_prompts_are_refused_not_cut():
    with pytest.raises(ValueError, match="80 bytes"):
        ByteTokenizer(77)("x" * 80)


def test_checkpoint_round_trip_with_heads(tmp_path, images):
    torch.manual_seed(0)
    model = create_classifier(PROMPTS)
    model.add_heads(4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.heads_out.normal_()
    path = tmp_path / "base.safetensors"
    path.write_bytes(checkpoint_bytes(model, "mds-tiny"))
    assert torch.equal(load_checkpoint(path, PROMPTS)(images), model(images))
    assert load_checkpoint(path, PROMPTS[:2]).heads_in is None  # other classes: their heads mean nothing
    assert checkpoint_bytes(load_checkpoint(path, PROMPTS), "mds-tiny") == path.read_bytes()


def test_a_checkpoint_says_which_architecture_it_is(tmp_path):
    config = json.loads((Path(methods.__file__).parent / "model_configs" / "mds-tiny.json").read_text())
    config["vision_cfg"]["layers"] = 1
    (tmp_path / "mds-test-shallow.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    path = tmp_path / "base.safetensors"
    path.write_bytes(checkpoint_bytes(create_classifier(PROMPTS, "mds-test-shallow"), "mds-test-shallow"))
    assert load_checkpoint(path, PROMPTS).architecture == "mds-test-shallow"


@pytest.mark.parametrize(
    ("content", "model", "message"),
    [
        (None, None, "no such checkpoint"),
        (b"nonsense", None, "not a safetensors file, or a damaged or cut off one: copy it again"),
        (b"", None, "copy it again"),
        (b"PK\3\4", None, "convert it once"),
        ("cut off", None, "copy it again"),
        ("whole numbers", None, r"1 weights are no floating-point numbers, first logit_scale is of torch\.int32"),
        ("other", None, "not a checkpoint of"),
        ("tiny", "RN50", "not a RN50"),
    ],
)
def test_bad_checkpoints_are_one_line(tmp_path, content, model, message):
    from safetensors.torch import save

    path = tmp_path / "base.safetensors"
    if content == "other":
        content = save({"visual.conv1.weight": torch.zeros(3)})
    elif content == "tiny":
        content = checkpoint_bytes(create_classifier(PROMPTS), "mds-tiny")
    elif content == "cut off":
        content = checkpoint_bytes(create_classifier(PROMPTS), "mds-tiny")[:-1]
    elif content == "whole numbers":
        state = create_classifier(PROMPTS).clip.state_dict()
        content = save(state | {"logit_scale": state["logit_scale"].int()})
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, PROMPTS, model)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("model", "tag", "message"), [("ViT-Q", None, "unknown --model"), ("ViT-B-32", "nope", "known are")]
)
def test_unknown_models_and_tags(model, tag, message):
    with pytest.raises(ValueError, match=message):
        create_classifier(PROMPTS, model, tag)


def test_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    def no_network(*args, **kwargs):
        raise RuntimeError("offline\nat length")

    monkeypatch.setattr(open_clip, "create_model", no_network)
    with pytest.raises(ValueError, match=r"--base FILE\.safetensors") as caught:
        create_classifier(PROMPTS, "ViT-B-32", "laion400m_e31")
    assert "\n" not in str(caught.value)


def test_lite0_has_its_channels_last_and_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    model, images = create_classifier(["a cat.", "a dog."], "mds-lite0"), torch.rand(6, 3, 96, 96)
    labels, seen = torch.tensor([0, 1] * 3), []
    model.clip.visual.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    F.cross_entropy(model(images), labels).backward()
    plain = copy.deepcopy(model)
    plain.zero_grad()
    plain.clip.visual.register_forward_pre_hook(lambda _, given: given[0].contiguous())
    logits = plain(images)
    F.cross_entropy(logits, labels).backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), logits, atol=1e-4, rtol=1e-4)
    ours, theirs = (torch.cat([p.grad.flatten() for p in m.clip.visual.parameters()]) for m in (model, plain))
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_other_towers_have_their_images_as_they_come(model, images):
    assert model.normalised(images).is_contiguous()
