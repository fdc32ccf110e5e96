"""Byte-level text tokens, for models too small to carry a 49,408-row word-piece embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

START, END = 256, 257  # ids above the 256 byte values; END is the largest, as open_clip's argmax pooling expects
VOCAB_SIZE = 258


class ByteTokenizer:
    """UTF-8 bytes between a start and an end token, padded with 0: any text in any language, in 258 rows.

    Args:
        context_length: number of positions of the text tower.
    """

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Tokens (N, context_length) int64.

        Raises:
            ValueError: a text does not fit; cutting it could make two classes equal.
        """
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            ids = [START, *text.encode(), END]
            if len(ids) > self.context_length:
                raise ValueError(
                    f"prompt {text!r} has {len(ids) - 2} bytes, the text tower takes {self.context_length - 2}: "
                    "use a shorter class name or prompt"
                )
            row[: len(ids)] = torch.tensor(ids)
        return tokens
