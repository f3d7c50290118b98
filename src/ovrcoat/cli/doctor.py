"""`ovrcoat doctor`: checks the installation, and says how to fix it."""

import importlib
import os
import platform
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from packaging.requirements import Requirement

from ovrcoat._version import __version__
from ovrcoat.cli.terminal import print_json, print_table
from ovrcoat.errors import OvrcoatError
from ovrcoat.system.paths import exists, is_folder

# Optional dependencies for developers of this package.
DEVELOPER_EXTRAS = {"dev", "nano"}
# Modules whose name differs from their distribution.
MODULES = {"open-clip-torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. A check that is needed and not ok makes the exit status 1."""

    subject: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    needed: bool = True
    remedy: str = ""


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check the installation: versions, devices, models and folders; say how to fix what is missing.

    The exit status is 1 if something that is required does not work.

    Parameters
    ----------
    json
        Print one JSON document instead of a table.
    """
    checks = [*_python(), *_libraries(), *_devices(), *_models(), *_folders(), _text_cache()]
    if json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(
            ("check", "status", "detail", "what to do"),
            [
                (
                    check.subject,
                    check.status if check.needed or check.status == "ok" else f"{check.status} (optional)",
                    check.detail,
                    check.remedy,
                )
                for check in checks
            ],
        )
    return int(any(check.needed and check.status != "ok" for check in checks))


def _python() -> Iterator[Check]:
    yield Check("ovrcoat", "ok", __version__)
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _libraries() -> Iterator[Check]:
    """Check that dependencies are installed, recent enough and importable; extras only the first two."""
    try:
        declared = metadata.requires("ovrcoat") or []
    except metadata.PackageNotFoundError:
        yield Check(
            "libraries",
            "missing",
            "ovrcoat is not installed; it runs from a folder",
            False,
            "Run: pip install -e .",
        )
        return
    for requirement in map(Requirement, declared):
        extra = _extra(requirement)
        if extra not in DEVELOPER_EXTRAS:
            yield _library(requirement, extra=extra)


def _extra(requirement: Requirement) -> str | None:
    """Return the extra that `requirement` belongs to; None for a required dependency."""
    names = metadata.metadata("ovrcoat").get_all("Provides-Extra") or []
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return None
    return next(name for name in names if requirement.marker.evaluate({"extra": name}))


def _library(requirement: Requirement, *, extra: str | None) -> Check:
    subject = requirement.name if extra is None else f"{requirement.name} (extra {extra})"
    remedy = f"Run: pip install '{requirement.name}{requirement.specifier}'"
    if extra is not None:
        remedy = f"Run: pip install 'ovrcoat[{extra}]'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(subject, "missing", f"needs {requirement.specifier}", extra is None, remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(subject, "broken", f"{version}, needs {requirement.specifier}", extra is None, remedy)
    reason = _import_error(requirement.name) if extra is None else None
    if reason is not None:
        return Check(subject, "broken", f"{version} does not import: {reason}", True, remedy)
    return Check(subject, "ok", version, extra is None)


def _import_error(distribution: str) -> str | None:
    """Return why the module cannot be imported (built for another torch, for example); None if it can."""
    name = distribution.lower().replace("_", "-")  # both spellings occur in metadata
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as error:  # a broken library can raise anything; this verb reports it
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _devices() -> Iterator[Check]:
    import torch

    yield Check("device cpu", "ok", f"{torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Check(
            f"device cuda:{index}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
        )
    if torch.backends.mps.is_available():
        yield Check("device mps", "ok", platform.machine())


def _models() -> Iterator[Check]:
    """Load every installed model completely: hashes of its files, names and shapes, no NaN."""
    from ovrcoat.checkpoints import native
    from ovrcoat.checkpoints.catalog import EMBEDDED, list_models
    from ovrcoat.checkpoints.mask2former import load_mask2former

    for model in list_models():
        subject, needed = f"model {model.name}", model.name == EMBEDDED
        if model.path is None:
            yield Check(subject, "missing", "not installed", needed, model.remedy)
            continue
        try:
            load_mask2former(model.path) if model.masks_only else native.load(model.path)
        except OvrcoatError as error:
            yield Check(subject, "broken", str(error), needed, model.remedy or f"Replace {model.path}")
        else:
            yield Check(subject, "ok", str(model.path), needed)


def _folders() -> Iterator[Check]:
    """Check the folders of models; they are not needed for `nano`, and created when first written to."""
    from ovrcoat.system.user_folders import MODELS_VARIABLE, model_folders

    for folder in model_folders():
        if (obstacle := _obstacle(folder)) is None:
            yield Check(f"folder {folder}", "ok", "can be written", False)
        else:
            remedy = f"Set {MODELS_VARIABLE} to a folder that you may write to"
            yield Check(f"folder {folder}", "broken", f"cannot be written ({obstacle})", False, remedy)


def _text_cache() -> Check:
    """Report the text cache and its size."""
    from ovrcoat.segmentation.text_cache import open_text_cache
    from ovrcoat.system.user_folders import CACHE_VARIABLE

    cache = open_text_cache()
    if cache is None:
        return Check("text cache", "ok", "off: every process computes its text embeddings again", False)
    subject = f"text cache {cache.path}"
    if (obstacle := _obstacle(cache.path.parent)) is not None:
        remedy = f"Set {CACHE_VARIABLE} to a writable folder, or to none"
        return Check(subject, "broken", f"cannot be written ({obstacle})", False, remedy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = cache.count()
    if caught:
        return Check(subject, "broken", str(caught[0].message), False, "Delete the file if this persists")
    size = cache.path.stat().st_size if exists(cache.path) else 0
    return Check(subject, "ok", f"{count} names, {size / 2**20:.1f} MiB; delete it to empty it", False)


def _obstacle(folder: Path) -> Path | None:
    """Return what prevents writing to `folder` or creating it; None if nothing does."""
    existing = next(path for path in (folder, *folder.parents) if exists(path))
    return None if is_folder(existing) and os.access(existing, os.W_OK) else existing
