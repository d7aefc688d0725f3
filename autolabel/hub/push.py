"""Upload of a data set to the Hugging Face hub; only `export labels --push` does it."""

from __future__ import annotations

from pathlib import Path

from autolabel.errors import AutolabelError, ConfigError
from autolabel.hub.record import INSTALL


def require_hub(repo: str) -> None:
    """Raises ConfigError unless huggingface_hub is installed and the id is possible: OWNER/NAME."""
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id
    except ImportError:
        raise ConfigError("--push", "needs the package huggingface_hub", INSTALL) from None
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError("--push", f"{repo!r} is no id of a repository: {error}", "write OWNER/NAME") from error


def push_folder(folder: Path, repo: str) -> str:
    """Upload all files in one commit, into a private data set that is made if it is missing; return its address.

    Raises AutolabelError. The folder stays as it is, so that a failed upload can be repeated.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=constants.ENDPOINT)
    remedy = f"{folder} is complete: log in with `hf auth login`, then `hf upload {repo} {folder} --repo-type dataset`"
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder, repo_id=repo, repo_type="dataset", commit_message="Export of autolabel"
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise AutolabelError(repo, f"the hub refuses the upload with status {status}", remedy) from error
    except (OSError, ValueError, KeyError) as error:
        what = f"the hub at {constants.ENDPOINT} cannot be reached, or does not answer as one: {type(error).__name__}"
        raise AutolabelError(repo, what, remedy) from error
    except Exception as error:  # the transport of huggingface_hub has errors of its own
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise AutolabelError(repo, f"the hub cannot be reached: {type(error).__name__}", remedy) from error
    return str(commit.commit_url)
