"""The version of the package, read by the build and by `ovrcoat doctor`."""

__version__ = "0.1.0"
