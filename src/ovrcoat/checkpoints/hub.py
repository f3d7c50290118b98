"""Models on the Hugging Face Hub by address: hf://OWNER/REPO[/FILE][@REVISION].

The library huggingface_hub does the work: cache, offline mode, tokens, resumed downloads. Nothing is
downloaded unless `download` is called.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ovrcoat.errors import CheckpointError, ConfigError
from ovrcoat.system.fingerprints import file_sha256

PREFIX = "hf://"
DEFAULT_FILE = "model.safetensors"
_FORM = "hf://OWNER/REPO, hf://OWNER/REPO/FILE.safetensors or either of them with @REVISION at the end"
_PART = re.compile(r"[A-Za-z0-9._-]{1,96}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A file on the Hugging Face Hub.

    Attributes:
        repo: OWNER/REPO.
        file: path of the main file in the repository.
        revision: branch, tag or commit. None: the default branch.
    """

    repo: str
    file: str = DEFAULT_FILE
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Read an address.

        Raises:
            ConfigError: it has another form.
        """
        path, _, revision = text.removeprefix(PREFIX).partition("@")
        owner, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        parts = [owner, name, *(file.split("/") if file else ())]
        is_plain = all(_PART.fullmatch(part) and part.strip(".") for part in parts)
        if not text.startswith(PREFIX) or not is_plain or text.endswith("@"):
            raise ConfigError(f"{text!r} is not an address on the Hugging Face Hub; expected {_FORM}")
        return cls(f"{owner}/{name}", file or DEFAULT_FILE, revision or None)

    def __str__(self) -> str:
        file = "" if self.file == DEFAULT_FILE else f"/{self.file}"
        return f"{PREFIX}{self.repo}{file}{f'@{self.revision}' if self.revision else ''}"


def is_hub_address(text: str) -> bool:
    """Return whether a model is given by its address on the Hugging Face Hub."""
    return text.startswith(PREFIX)


def cached(address: HubAddress) -> Path:
    """Return the downloaded file of a model. Uses no network.

    Raises:
        ConfigError: the file has not been downloaded.
    """
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(address.repo, address.file, revision=address.revision)
    if not isinstance(path, str):
        raise ConfigError(
            f"{address} has not been downloaded; run: ovrcoat models --download {address} (in Python: "
            "Segmenter.load(..., download=True))"
        )
    return Path(path)


def download(address: HubAddress) -> Path:
    """Download a model with its shards, unless they are in the cache; return the path of the main file.

    The main file is compared with the SHA-256 that the Hub states, before it is opened. The main file
    contains the SHA-256 of each shard, which is checked when the model is loaded.

    Raises:
        ConfigError: there is no such file, access is denied, or the Hub cannot be reached.
        CheckpointError: the file differs from what the Hub states, or is not an ovrcoat checkpoint.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    with _errors_of(address):
        facts = get_hf_file_metadata(hf_hub_url(address.repo, address.file, revision=address.revision))
        path = Path(hf_hub_download(address.repo, address.file, revision=address.revision))
    _check_sha256(path, facts.etag, address)
    from ovrcoat.checkpoints.native import read_header  # needs torch, which an error above does not

    folder = address.file.rpartition("/")[0]
    for name in read_header(path).shards:
        with _errors_of(address):
            # of the same commit, in case the branch has moved
            hf_hub_download(
                address.repo, name, subfolder=folder or None, revision=facts.commit_hash or address.revision
            )
    return path


def _check_sha256(path: Path, stated: str | None, address: HubAddress) -> None:
    """Compare a file with the SHA-256 that the Hub states; it states none for small text files.

    Raises:
        CheckpointError: they differ. The file is then deleted.
    """
    if stated is None or not _SHA256.fullmatch(stated) or (found := file_sha256(path)) == stated:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise CheckpointError(
        f"{address}: the downloaded file has the SHA-256 {found[:12]}…, the Hub states {stated[:12]}…. "
        "It was damaged on the way, and has been deleted; download it again"
    )


@contextmanager
def _errors_of(address: HubAddress) -> Iterator[None]:
    """Turn the errors of huggingface_hub into one line each."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"{address}: its owner grants access on request; accept the terms on its page, then run: "
            "hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"{address}: there is no such repository, or it is private; check the name, or run: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(
            f"{address}: the repository has no such revision; check what follows the @"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ConfigError(
            f"{address}: the repository has no such file; give it as hf://OWNER/REPO/FILE.safetensors"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ConfigError(f"{address}: cannot be downloaded, because HF_HUB_OFFLINE is set") from error
    except Exception as error:  # of the HTTP client, which differs between versions of the library
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{address}: the Hugging Face Hub cannot be reached ({reason}); check the connection and try "
            "again"
        ) from error
