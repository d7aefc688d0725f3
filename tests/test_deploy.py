"""The recipes of `deploy/`: structure of the Dockerfile, a dry run for SLURM, the arguments for Kubernetes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from autolabel.cli.main import cli
from tests.helpers.paths import ROOT

DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_image_is_pinned_and_not_root() -> None:
    found = instructions()
    bases = [value.split()[0] for word, value in found if word == "FROM"]
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert len(set(bases)) == 1, "the environment of one stage runs in the other"
    last = [pair for pair in found if pair[0] in ("USER", "ENTRYPOINT")]
    assert last == [("USER", "autolabel"), ("ENTRYPOINT", '["autolabel"]')]
    torch = next(value for word, value in found if word == "ARG" and value.startswith("TORCH_VERSION"))
    assert f"torch=={torch.partition('=')[2]}" in (ROOT / "constraints.txt").read_text().splitlines()
    extras = next(value for word, value in found if word == "ARG" and value.startswith("EXTRAS"))
    assert set(extras.partition("=")[2].split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_the_image_gets_all_that_a_wheel_needs() -> None:
    copied = {part for word, value in instructions() if word == "COPY" for part in value.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert needed <= copied
    assert {f"!{name}" for name in needed} <= set(ignored)


def checked(arguments: list[str]) -> None:
    """The arguments of torchrun are ones it has, and those of autolabel are ones that the command has."""
    from torch.distributed.run import get_args_parser

    parsed = get_args_parser().parse_args(arguments)
    assert parsed.module
    assert parsed.training_script == "autolabel"
    stage, *rest = parsed.training_script_args
    result = CliRunner().invoke(cli, [stage, *rest, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("stage", ["teacher", "infer", "student"])
def test_the_slurm_script(tmp_path: Path, stage: str) -> None:
    """srun and scontrol print what they are called with."""
    for name, text in {"srun": 'printf "%s\\n" "$@"', "scontrol": "printf 'node7\\nnode8\\n'"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **job, "EXPERIMENT": "my city.toml", "STAGE": stage}
    done = subprocess.run(["bash", str(DEPLOY / "slurm.sh")], env=env, capture_output=True, text=True, check=True)
    program, *arguments = done.stdout.splitlines()
    assert program == "torchrun"
    assert "--rdzv-endpoint=node7:24711" in arguments
    assert arguments[-4:] == [stage, "my city.toml", "--work", "work"]
    checked(arguments)
    bare = subprocess.run(
        ["bash", str(DEPLOY / "slurm.sh")], env={**env, "STAGE": ""}, capture_output=True, text=True, check=False
    )
    assert bare.returncode != 0
    assert "set STAGE" in bare.stderr


def test_the_kubernetes_job() -> None:
    text = (DEPLOY / "kubernetes.yaml").read_text()
    block = text[text.index("args:") : text.index("resources:")]
    arguments = [line.strip().removeprefix("- ") for line in block.splitlines()[1:] if line.strip()]
    assert shlex.join(arguments).count("autolabel-teacher-0.autolabel-teacher:29400") == 1
    checked([argument.replace("$(JOB_COMPLETION_INDEX)", "0") for argument in arguments])
    assert "runAsNonRoot: true" in text
    assert text.count("autolabel-teacher\n") >= 4, "service, selector, job and subdomain have one name"
    for key, count in (("completions", 1), ("parallelism", 1)):
        assert len(re.findall(rf"^  {key}: 2$", text, re.MULTILINE)) == count
