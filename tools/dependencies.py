"""The packages that ovrcoat needs at run time, as far as they are installed: for audit, SBOM and licenses."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "ovrcoat"
MAINTAINERS_EXTRAS = frozenset({"dev", "fuzz", "bench", "nano"})  # of the source checkout, not for users


def user_extras() -> frozenset[str]:
    """Return the optional dependencies that users install."""
    extras = distribution(PACKAGE).metadata.get_all("Provides-Extra") or []
    return frozenset(extras) - MAINTAINERS_EXTRAS


def runtime_distributions(extras: frozenset[str]) -> dict[str, Distribution]:
    """Return the installed packages that ovrcoat with these extras requires, directly or not, by name."""
    found: dict[str, Distribution] = {}
    todo, done = [(PACKAGE, extras)], set()
    while todo:
        if (current := todo.pop()) in done:
            continue
        done.add(current)
        name, wanted = current
        try:
            package = distribution(name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
        found[canonicalize_name(name)] = package
        for requirement in map(Requirement, package.requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                todo.append((requirement.name, frozenset(requirement.extras)))
    del found[PACKAGE]
    return dict(sorted(found.items()))
