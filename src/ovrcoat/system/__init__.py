"""Devices, optional dependencies, atomic writes, background workers, user folders, fingerprints."""
