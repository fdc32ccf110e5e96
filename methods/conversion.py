"""Files of weights that are not safetensors, and how to make them so. Imports no torch."""

from __future__ import annotations

from pathlib import Path

STARTS = (b"PK", b"\x80")  # of files that torch.save writes, today's and older ones
PICKLED = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl"})  # what torch.save writes


def how_to_convert(path: Path) -> str:
    """One line: why such a file is not read, and the command that converts it."""
    name, new = path.name, path.with_suffix(".safetensors").name
    command = (
        f"import torch; from safetensors.torch import save_file; s = torch.load('{name}', map_location='cpu'); "
        f"s = s.get('state_dict', s); save_file({{k: v.clone() for k, v in s.items()}}, '{new}')"
    )
    return (
        f"{path}: not a safetensors file; files of torch.save can run code, so they are not read here: "
        f'convert it once with: python -c "{command}"'
    )


def why_unreadable(path: Path) -> str:
    """One line: what to do about a file that is no safetensors file that can be read."""
    with path.open("rb") as file:
        if path.suffix in PICKLED or file.read(2).startswith(STARTS):
            return how_to_convert(path)
    return f"{path}: not a safetensors file, or a damaged or cut off one: copy it again"


__all__ = ["PICKLED", "how_to_convert", "why_unreadable"]
