"""Which families of open_clip's models can be developed; run with ``--out docs/open-clip.md``.

One small model of each is built with random weights, which takes no download but a tokenizer's for some, and answers
the same images and prompts as open_clip's own model with the same weights. Three minutes of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from benchmark.output.files import check_file
from benchmark.output.tables import markdown_table
from methods.checkpoints import create_classifier, quietly, tokenizer_for

FAMILIES = {
    "ViT (OpenAI, LAION, DataComp, MetaCLIP, DFN)": "ViT-B-32",
    "ViT with QuickGELU": "ViT-B-32-quickgelu",
    "ViT with another pooling": "vit_medium_patch16_gap_256",
    "ResNet": "RN50",
    "ConvNeXt": "convnext_tiny",
    "Swin": "swin_base_patch4_window7_224",
    "EVA": "EVA02-B-16",
    "ViTamin": "ViTamin-S",
    "MobileCLIP": "MobileCLIP-S1",
    "MobileCLIP2": "MobileCLIP2-S0",
    "Perception Encoder": "PE-Core-T-16-384",
    "SigLIP": "ViT-B-16-SigLIP",
    "SigLIP 2": "ViT-B-32-SigLIP2-256",
    "CLIPA": "ViT-L-14-CLIPA",
    "worldwide MetaCLIP 2": "ViT-L-14-worldwide",
    "CoCa": "coca_ViT-B-32",
    "RoBERTa text": "roberta-ViT-B-32",
    "XLM-RoBERTa text": "xlm-roberta-base-ViT-B-32",
    "mT5 text": "mt5-base-ViT-B-32",
    "NLLB text": "nllb-clip-base",
}
PROMPTS = ("the weather is foggy.", "the weather is clear.", "the scene is a(n) dressing room.")
IMAGES = 2
HEADINGS = ("family", "example", "parameters", "image", "developed", "why not")
TEXT = """\
# Models of open_clip

Made by `python -m scripts.open_clip_families --out docs/open-clip.md`; do not edit. open_clip {version}, torch {torch}.

{table}

Of each family one model was built with random weights, and its cosines of {images} images with {prompts} prompts were
compared with those of open_clip's own model with the same weights: *developed* shows the largest difference. Where a
package is missing, the family was not tried. Batch normalisation is fixed, as in evaluation.
"""


def row(family: str, name: str) -> tuple[str, ...]:
    """One family's row of the table."""
    try:
        torch.manual_seed(0)
        ours = create_classifier(PROMPTS, name).eval()
    except ValueError as error:
        reason = str(error).removeprefix(f"--model {name}: ").split(": ")[0].split(", not")[0]  # not the remedy
        return family, f"`{name}`", "", "", "not tried" if "tokenizer needs" in reason else "no", reason
    images = torch.rand(IMAGES, 3, ours.image_size, ours.image_size)
    with torch.no_grad():
        difference = float((ours.similarity(images) - _own(name, (images - ours.mean) / ours.std)).abs().max())
    size = f"{sum(p.numel() for p in ours.clip.parameters()) / 1e6:,.0f} M"
    return family, f"`{name}`", size, f"{ours.image_size} px", f"yes, {difference:.0e}", ""


def _own(name: str, images: Tensor) -> Tensor:
    """The cosines of open_clip's own model with the same random weights."""
    torch.manual_seed(0)
    model = quietly(open_clip.create_model, name).eval()
    tokens = tokenizer_for(name, model)(list(PROMPTS))
    cosines: Tensor = model.encode_image(images, normalize=True) @ model.encode_text(tokens, normalize=True).T
    return cosines


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--only", nargs="*", default=list(FAMILIES), choices=FAMILIES, help="families")
    asked = parser.parse_args(arguments)
    try:
        check_file("--out", asked.out)
    except ValueError as error:
        parser.error(str(error))
    rows = [row(family, name) for family, name in FAMILIES.items() if family in asked.only]
    told = {"version": open_clip.__version__, "torch": torch.__version__.split("+")[0]}
    text = TEXT.format(table=markdown_table(HEADINGS, rows, left=6), images=IMAGES, prompts=len(PROMPTS), **told)
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
