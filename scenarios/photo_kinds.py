"""The kinds of photos that Pillow can read here."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module

from PIL import Image, features

ALWAYS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # Pillow may have been built without them
# Drawings, films, icons and tables, which Pillow lists too: mostly no photos, and some it cannot read by itself.
NO_PHOTOS = frozenset({"BUFR", "CUR", "EPS", "FLI", "GRIB", "HDF5", "ICNS", "ICO", "IPTC", "MPEG", "WMF", "XBM", "XPM"})
# Pillow opens these by a plugin, which is used where it is installed.
PLUGIN, OF_PLUGIN = "pillow_heif", frozenset({".heic", ".heif", ".hif"})
OTHER_PHOTOS = frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".jxl", ".svg"})


@cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes, in lower case and with the dot, of photos that can be read: asked of Pillow, codecs included."""
    Image.init()
    use_plugin()
    found = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in NO_PHOTOS and (kind not in CODECS or features.check(CODECS[kind]))
    }
    return ALWAYS | {".mpo"} | found  # Pillow reads .mpo as a kind of JPEG


@cache
def use_plugin() -> None:
    """Let Pillow open HEIC photos, where the plugin for them is installed."""
    with suppress(ImportError):
        import_module(PLUGIN).register_heif_opener()


def why_left_out(suffix: str) -> str:
    """Why a file with this suffix, in lower case, is no photo that can be read."""
    if not suffix:
        return "without a suffix"
    if suffix in OF_PLUGIN:
        return f"{suffix} (install pillow-heif to read them, or convert them to .jpg)"
    if suffix in OTHER_PHOTOS or suffix in Image.registered_extensions():
        return f"{suffix} (cannot be read as a photo here: convert them to .jpg or .png)"
    return f"{suffix} (no photos)"
