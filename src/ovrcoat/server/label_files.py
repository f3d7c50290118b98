"""Label files of one image in the formats of other tools, as a zip file."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ovrcoat.results.writers import BARE_DOCUMENT
from ovrcoat.segmentation.postprocess import AnyResult

IMAGE_NAME = "image.png"  # the client's file name is not used, because it may be a path
DATE = (1980, 1, 1, 0, 0, 0)  # of all files in the zip file, so that equal results give equal bytes


def label_zip(result: AnyResult, formats: Sequence[str]) -> bytes:
    """Write a result as `Result.save` does, in a temporary folder, and return the files as a zip file.

    Args:
        result: the result of one image.
        formats: names of formats, see `results.exports.table.FORMATS`.

    Raises:
        ConfigError: a name is unknown, or a format cannot hold the result.
        OutputError: the temporary folder cannot be written.
    """
    with TemporaryDirectory(prefix="ovrcoat-") as name, io.BytesIO() as content:
        folder = Path(name)
        replace(result, name=IMAGE_NAME).save(folder, format=formats)
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != BARE_DOCUMENT]
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(files):
                info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, path.read_bytes())
        return content.getvalue()
