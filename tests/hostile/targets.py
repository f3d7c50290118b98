"""What hostile inputs are given to: one function per reader. They run in children of the zygote.

Each returns something that JSON can hold, for tests that accept an input.
"""

from pathlib import Path


def command(arguments: list[str]) -> int:
    """Run the command line; returns its exit status."""
    from ovrcoat.cli import main

    return main(arguments)


def read_image(path: str) -> list[int]:
    """Decode an image file; returns its shape."""
    from ovrcoat.data.images import read_image as read

    return list(read(path).pixels.shape)


def read_vocabulary(path: str) -> int:
    """Read a vocabulary file, with all checks; returns the number of categories."""
    from ovrcoat.vocabulary import Vocabulary

    vocabulary = Vocabulary.read(path)
    vocabulary.lint()
    return len(vocabulary)


def load_model(path: str) -> bool:
    """Load a checkpoint."""
    from ovrcoat.segmentation.segmenter import Segmenter

    Segmenter.load(Path(path), device="cpu")
    return True


def misbehave(how: str) -> int:
    """End in a given way, for the tests of the harness."""
    import os
    import tempfile

    from ovrcoat.errors import OvrcoatError

    match how:
        case "refuse":
            raise OvrcoatError("no")
        case "two_lines":
            raise OvrcoatError("one\ntwo")
        case "traceback":
            return 1 // 0
        case "crash":
            os.abort()
        case "exit":
            os._exit(0)
        case "allocate":
            return len(bytearray(3 << 30))
        case "fill_disk":
            with tempfile.TemporaryFile() as file:
                file.truncate(2 << 30)
        case "compute":
            while True:
                pass
    return 0
