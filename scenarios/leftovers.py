"""Files and folders that systems and tools leave behind, wherever files are listed."""

from __future__ import annotations

NAMES = frozenset(
    {
        *("__macosx", ".ds_store", ".spotlight-v100", ".trashes", ".fseventsd"),  # macOS
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
        *("lost+found", ".directory", "@eadir"),  # Linux, network storage
        *(".ipynb_checkpoints", "__pycache__", ".git", ".gitignore", ".gitkeep"),
    }
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name was put there by no user, such as ``Thumbs.db`` or ``._photo.jpg``."""
    return name.lower() in NAMES or name.startswith("._")
