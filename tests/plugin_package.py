"""Distributions for tests: wheels that are made by hand and installed by pip, without an index or a network."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

EntryPoints = Mapping[str, Mapping[str, str]]
"""By group: names, and where their classes are."""


def metadata(name: str, entry_points: EntryPoints) -> dict[str, str]:
    """The files of a `dist-info` folder."""
    groups = [
        f"[{group}]\n" + "".join(f"{one} = {at}\n" for one, at in own.items()) for group, own in entry_points.items()
    ]
    return {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/entry_points.txt": "\n".join(groups),
    }


def write(folder: Path, name: str, entry_points: EntryPoints, files: Mapping[str, str]) -> None:
    """Lay a distribution down as pip would."""
    for path, text in {**metadata(name, entry_points), **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def install(folder: Path, name: str, entry_points: EntryPoints, files: Mapping[str, str]) -> None:
    """Install a distribution into a folder of its own."""
    wheel = folder.parent / f"{name}-1.0-py3-none-any.whl"
    record = f"{name}-1.0.dist-info/RECORD"
    with zipfile.ZipFile(wheel, "w") as archive:
        contents = {**files, **metadata(name, entry_points)}
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr(record, "".join(f"{path},,\n" for path in [*contents, record]))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=60)
