"""Where training runs."""

from __future__ import annotations

import os

import torch

from autolabel.config import Runtime
from autolabel.errors import ConfigError


def use_device(runtime: Runtime) -> torch.device:
    """The device `runtime` names (auto: a GPU if there is one), with torch's CPU threads set. ConfigError: no such."""
    torch.set_num_threads(runtime.threads or len(os.sched_getaffinity(0)))
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("runtime.device", f"{name!r} cannot be used ({reason})", "use auto, cpu or cuda") from None
    return torch.device(name)
