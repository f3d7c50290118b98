"""`ovrcoat doctor`: what is installed, what works, what is missing and how to get it."""

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

# Extras for the makers of the package, of no use to its users.
MAKERS_EXTRAS = {"dev", "nano"}
# Modules that are not called like their distribution.
MODULES = {"open-clip-torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml"}


@dataclass(frozen=True, slots=True)
class Issue:
    """One line of the report. A finding that is needed and not ok makes the exit status 1."""

    subject: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    needed: bool = True
    remedy: str = ""


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check the installation: versions, devices, models, folders, and what to do about what is missing.

    The exit status is 1 if something that is needed does not work.

    Parameters
    ----------
    json
        Print one JSON document instead of a table.
    """
    issues = [*_python(), *_libraries(), *_devices(), *_models(), *_folders(), _text_cache()]
    if json:
        print_json([asdict(issue) for issue in issues])
    else:
        print_table(
            ("what", "status", "detail", "what to do"),
            [
                (
                    issue.subject,
                    issue.status if issue.needed or issue.status == "ok" else f"{issue.status} (optional)",
                    issue.detail,
                    issue.remedy,
                )
                for issue in issues
            ],
        )
    return int(any(issue.needed and issue.status != "ok" for issue in issues))


def _python() -> Iterator[Issue]:
    yield Issue("ovrcoat", "ok", __version__)
    yield Issue("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _libraries() -> Iterator[Issue]:
    """Every dependency: there, new enough, and importable; every extra: there and new enough."""
    try:
        declared = metadata.requires("ovrcoat") or []
    except metadata.PackageNotFoundError:
        yield Issue(
            "libraries",
            "missing",
            "ovrcoat runs from a folder, not installed",
            False,
            "Run: pip install -e .",
        )
        return
    for requirement in map(Requirement, declared):
        extra = _extra(requirement)
        if extra not in MAKERS_EXTRAS:
            yield _library(requirement, extra=extra)


def _extra(requirement: Requirement) -> str | None:
    """The extra that asks for `requirement`, None for a plain dependency."""
    names = metadata.metadata("ovrcoat").get_all("Provides-Extra") or []
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return None
    return next(name for name in names if requirement.marker.evaluate({"extra": name}))


def _library(requirement: Requirement, *, extra: str | None) -> Issue:
    subject = requirement.name if extra is None else f"{requirement.name} (extra {extra})"
    remedy = f"Run: pip install '{requirement.name}{requirement.specifier}'"
    if extra is not None:
        remedy = f"Run: pip install 'ovrcoat[{extra}]'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Issue(subject, "missing", f"needs {requirement.specifier}", extra is None, remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        return Issue(subject, "broken", f"{version}, needs {requirement.specifier}", extra is None, remedy)
    reason = _import_error(requirement.name) if extra is None else None
    if reason is not None:
        return Issue(subject, "broken", f"{version} does not import: {reason}", True, remedy)
    return Issue(subject, "ok", version, extra is None)


def _import_error(distribution: str) -> str | None:
    """Why the distribution's module does not import (made for another torch, say); None if it does."""
    name = distribution.lower().replace("_", "-")  # build tools write it either way
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as error:  # a broken library can raise anything; telling it is this verb's work
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _devices() -> Iterator[Issue]:
    import torch

    yield Issue("device cpu", "ok", f"{torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Issue(
            f"device cuda:{index}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
        )
    if torch.backends.mps.is_available():
        yield Issue("device mps", "ok", platform.machine())


def _models() -> Iterator[Issue]:
    """Every model that is installed is read in full: hashes of its parts, names, shapes, no NaN."""
    from ovrcoat.checkpoints import native
    from ovrcoat.checkpoints.catalog import EMBEDDED, list_models

    for model in list_models():
        subject, needed = f"model {model.name}", model.name == EMBEDDED
        if model.path is None:
            yield Issue(subject, "missing", "not installed", needed, model.remedy)
            continue
        try:
            native.load(model.path)
        except OvrcoatError as error:
            yield Issue(subject, "broken", str(error), needed, model.remedy or f"Replace {model.path}")
        else:
            yield Issue(subject, "ok", str(model.path), needed)


def _folders() -> Iterator[Issue]:
    """Folders of models are not needed for `nano`, and made when first written to."""
    from ovrcoat.system.user_folders import MODELS_VARIABLE, model_folders

    for folder in model_folders():
        if (obstacle := _obstacle(folder)) is None:
            yield Issue(f"folder {folder}", "ok", "can be written", False)
        else:
            remedy = f"Set {MODELS_VARIABLE} to a folder that you may write to"
            yield Issue(f"folder {folder}", "broken", f"cannot be written ({obstacle})", False, remedy)


def _text_cache() -> Issue:
    """Where embedded names are kept, and how many are."""
    from ovrcoat.segmentation.text_cache import open_text_cache
    from ovrcoat.system.user_folders import CACHE_VARIABLE

    cache = open_text_cache()
    if cache is None:
        return Issue("text cache", "ok", "off: every process embeds its words anew", False)
    subject = f"text cache {cache.path}"
    if (obstacle := _obstacle(cache.path.parent)) is not None:
        remedy = f"Set {CACHE_VARIABLE} to a folder that you may write to, or to none"
        return Issue(subject, "broken", f"cannot be written ({obstacle})", False, remedy)
    with warnings.catch_warnings(record=True) as faults:
        warnings.simplefilter("always")
        rows = cache.count_rows()
    if faults:
        return Issue(subject, "broken", str(faults[0].message), False, "Delete it if this stays")
    size = cache.path.stat().st_size if cache.path.exists() else 0
    return Issue(subject, "ok", f"{rows} names, {size / 2**20:.1f} MiB; delete it to empty it", False)


def _obstacle(folder: Path) -> Path | None:
    """What keeps us from writing to `folder`, or from making it; None if nothing does."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return None if existing.is_dir() and os.access(existing, os.W_OK) else existing
