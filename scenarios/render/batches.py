"""What every renderer does around its pictures: checking codes, and drawing chunks on threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

MIN_SIZE = 32
CHUNK_PIXELS = 64 * 64 * 64  # pixels drawn at once by a thread: 64 images of 64 px

Chunk = tuple[int, Tensor]  # the code that images drawn together share, and their positions in the batch


def check_batch(index: Tensor, size: int) -> None:
    """Refuse a size or an index that cannot be drawn."""
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} px, got {size}")
    if index.dim() != 1:
        raise ValueError(f"index must be one-dimensional, got shape {tuple(index.shape)}")


def check_codes(what: str, codes: Tensor, index: Tensor, names: Sequence[str]) -> None:
    """Refuse codes that are not positions in `names`, one an image."""
    if codes.shape != index.shape:
        raise ValueError(f"{what} must have the shape of index {tuple(index.shape)}, got {tuple(codes.shape)}")
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= len(names)):
        worst = int(codes.max()) if int(codes.max()) >= len(names) else int(codes.min())
        raise ValueError(f"unknown {what} code {worst}: codes are 0 to {len(names) - 1}")


def chunks(codes: Tensor, order: Tensor, size: int) -> list[Chunk]:
    """Groups of images of one code, small enough to draw together, each in the given order of positions."""
    length = max(1, CHUNK_PIXELS // (size * size))
    groups: list[Chunk] = []
    for code in codes.unique().tolist():
        members = order[codes[order] == code]
        groups += [(code, pick) for pick in members.split(length)]
    return groups


def draw_chunks(draw: Callable[[int, Tensor], None], groups: Sequence[Chunk], parallel: bool) -> None:
    """Draw the chunks, each on one thread: threads that share every operation stall when another process is busy."""
    threads = torch.get_num_threads()
    if not parallel or threads == 1 or not groups:
        for code, pick in groups:
            draw(code, pick)
        return
    try:
        with ThreadPoolExecutor(min(threads, len(groups)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(draw, code, pick) for code, pick in groups]:
                done.result()
    finally:
        torch.set_num_threads(threads)  # the workers' setting is also the default of threads made later
