"""Folders to the Hugging Face hub."""

from __future__ import annotations

from plait.errors import PlaitError, reason


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
