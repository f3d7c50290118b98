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


def read_background(path: str) -> int:
    """Use a vocabulary file as background classes of another vocabulary; returns their number."""
    from ovrcoat.vocabulary import Vocabulary

    vocabulary = Vocabulary.read("cat; dog house").with_background(path)
    vocabulary.lint()
    return len(vocabulary.background)


def load_model(path: str) -> bool:
    """Load a checkpoint."""
    from ovrcoat.segmentation.segmenter import Segmenter

    Segmenter.load(Path(path), device="cpu", text_cache=None)
    return True


def read_training_config(path: str) -> bool:
    """Read a training configuration."""
    from ovrcoat.training.config_file import read_config

    read_config(path)
    return True


def read_dataset(path: str) -> int:
    """Open a folder or zip file of labeled images and read all of it; returns the number of images."""
    from ovrcoat.data.catalog import open_dataset
    from ovrcoat.data.images import read_image as decode

    dataset = open_dataset(path)
    for record in dataset.records:
        decode(dataset.image(record))
        if "panoptic" in dataset.tasks:
            dataset.panoptic(record)
        if "semantic" in dataset.tasks:
            dataset.semantic(record)
    if "instance" in dataset.tasks:
        dataset.instances(dataset.records)
    return len(dataset)


def list_batch_items(path: str) -> int:
    """List the images of a batch source and read them; returns their number."""
    from ovrcoat.batch.sources import list_items
    from ovrcoat.batch.storage import read_range
    from ovrcoat.errors import ImageError

    items = list_items([path])
    for item in items[:10]:
        try:
            read_range(item.path)
        except ImageError:
            continue
    return len(items)


def continue_output(path: str, formats: str | None = None) -> int:
    """Open an output folder that holds an earlier run; returns the number of its images."""
    from ovrcoat.results.writers import RunWriter
    from ovrcoat.vocabulary import Vocabulary

    categories = Vocabulary.parse("cat; wall#stuff").categories
    with RunWriter(path, task="panoptic", categories=categories, formats=formats, resume="always") as writer:
        return len(writer.earlier)


def continue_evaluation(path: str) -> int:
    """Open the journal of an earlier evaluation; returns the number of its images."""
    from ovrcoat.evaluation.journal import Journal
    from ovrcoat.evaluation.journal_entry import JournalEntry

    with Journal(Path(path), {"model": "tiny"}, entry_type=JournalEntry) as journal:
        return len(list(journal.entries()))


def continue_training_log(path: str) -> bool:
    """Open the log of an earlier training."""
    from ovrcoat.training.step_log import StepLog

    with StepLog(Path(path), first_step=5):
        return True


def resume_training(path: str) -> int:
    """Read the state of an earlier training; returns its step."""
    import torch

    from ovrcoat.training.state import resume

    network = torch.nn.Linear(2, 2)
    parameters = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(network.parameters())
    return resume(Path(path), parameters=parameters, optimizer=optimizer, average=None, settings={"seed": 1})


def misbehave(how: str) -> int:
    """End in a given way, for the tests of the harness."""
    import os
    import tempfile

    from ovrcoat.errors import OvrcoatError

    match how:
        case "refuse":
            raise OvrcoatError("no")
        case "many_lines":
            raise OvrcoatError("\n".join(f"line {number}" for number in range(1, 32)))
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
