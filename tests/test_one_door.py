"""Only autolabel.store.durable changes the disk: reads the source of the package for any other way to do it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "autolabel"
DOOR = PACKAGE / "store" / "durable.py"

# Dotted names, resolved through the imports of the file. A trailing dot bans all below it.
BANNED = (
    "os.chmod", "os.ftruncate", "os.link", "os.makedirs", "os.mkdir", "os.mkfifo", "os.mknod", "os.pwrite",
    "os.remove", "os.removedirs", "os.rename", "os.renames", "os.replace", "os.rmdir", "os.symlink", "os.truncate",
    "os.unlink", "os.utime", "shutil.", "tempfile.", "logging.FileHandler", "logging.handlers.", "sqlite3.connect",
    "safetensors.torch.save_file", "safetensors.torch.save_model", "safetensors.numpy.save_file",
    "pyarrow.OSFile", "pyarrow.fs.", "mmap.",
)  # fmt: skip
ALLOWED = (
    "shutil.which",
    "shutil.get_terminal_size",
    "shutil.disk_usage",
    "safetensors.torch.save",
    "tempfile.gettempdir",
)

# Methods that only paths have.
PATH_METHODS = {
    "write_text", "write_bytes", "mkdir", "unlink", "rmdir", "symlink_to", "hardlink_to", "chmod",
}  # fmt: skip
# str.replace takes two arguments, dataclasses.replace keywords; a path's takes one.
ONE_ARGUMENT_METHODS = {"rename", "replace"}

# Writers that take a path or a file object: number of the argument, which must be a buffer in memory.
SINK_OF_METHOD = {
    "save": 0, "savez": 0, "savez_compressed": 0, "savetxt": 0, "tofile": 0, "savefig": 0, "imsave": 0,
    "imwrite": 0, "to_parquet": 0, "to_csv": 0, "write_table": 1, "write_feather": 1, "ParquetWriter": 0,
}  # fmt: skip
SINK_OF_FUNCTION = {
    "torch.save": 1, "torch.export.save": 1, "json.dump": 1, "pickle.dump": 1, "pyarrow.parquet.write_table": 1,
}  # fmt: skip
OPENERS = {"h5py.File": "r", "zipfile.ZipFile": "r", "tarfile.open": "r", "gzip.open": "rb", "gzip.GzipFile": "rb"}

EXCEPTIONS = {
    ("cli/__init__.py", "open"),  # standard streams that the caller closed: a descriptor, not a path
    # A scratch folder, where the doctor tries what the store does.
    ("cli/machine_checks.py", "tempfile.TemporaryDirectory"),
    ("cli/machine_checks.py", "os.open"),
    ("cli/machine_checks.py", "link.symlink_to"),
}

BUFFERS = {"io.BytesIO", "io.StringIO", "pyarrow.BufferOutputStream"}
WRITE_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


class Writes(ast.NodeVisitor):
    """Collects the lines of one file that can change the disk."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self.buffers: list[set[str]] = [set()]  # names that hold a buffer, a set a function
        self.found: list[tuple[int, str]] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.modules[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.buffers.append({a.arg for a in arguments if a.annotation and self.dotted(a.annotation) in BUFFERS})
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign | ast.AnnAssign) and self.is_buffer(inner.value):
                targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                self.buffers[-1] |= {target.id for target in targets if isinstance(target, ast.Name)}
            if isinstance(inner, ast.withitem) and self.is_buffer(inner.context_expr):
                self.buffers[-1] |= {inner.optional_vars.id} if isinstance(inner.optional_vars, ast.Name) else set()
        self.generic_visit(node)
        self.buffers.pop()

    def visit_Call(self, node: ast.Call) -> None:
        name = self.dotted(node.func)
        if any(self.rules(node, name)):
            self.found.append((node.lineno, ast.unparse(node.func)))
        self.generic_visit(node)

    def rules(self, node: ast.Call, name: str) -> Iterator[bool]:
        if name in ALLOWED:
            return
        yield any(name == banned or (banned.endswith(".") and name.startswith(banned)) for banned in BANNED)
        if name in ("open", "io.open"):
            yield self.writes(node, 1, "r")
        elif name == "os.open":
            to_nowhere = bool(node.args) and self.dotted(node.args[0]) == "os.devnull"
            yield not to_nowhere and any(isinstance(n, ast.Attribute) and n.attr in WRITE_FLAGS for n in ast.walk(node))
        elif name in OPENERS:
            yield self.writes(node, 1, OPENERS[name]) and not self.in_memory(node, 0)
        elif name in SINK_OF_FUNCTION:
            yield not self.in_memory(node, SINK_OF_FUNCTION[name])
        elif isinstance(node.func, ast.Attribute):
            yield from self.method_rules(node, node.func.attr)

    def method_rules(self, node: ast.Call, method: str) -> Iterator[bool]:
        yield method in PATH_METHODS
        yield method == "touch" and not node.args
        yield method in ONE_ARGUMENT_METHODS and len(node.args) == 1 and not node.keywords
        ours = isinstance(node.func, ast.Attribute) and self.dotted(node.func.value) == "self"
        yield method in SINK_OF_METHOD and not ours and not self.in_memory(node, SINK_OF_METHOD[method])
        if method == "open" and (node.args or node.keywords):
            mode = self.argument(node, 0, "mode")
            text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else ""
            yield bool(text) and set(text) <= set("rwaxbt+U") and bool(set(text) & set("wax+"))

    def writes(self, node: ast.Call, position: int, default: str) -> bool:
        mode = self.argument(node, position, "mode")
        if mode is None:
            return bool(set(default) & set("wax+"))
        return not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))

    def in_memory(self, node: ast.Call, position: int) -> bool:
        sink = node.args[position] if len(node.args) > position else None
        named = isinstance(sink, ast.Name) and any(sink.id in names for names in self.buffers)
        return named or self.is_buffer(sink)

    def is_buffer(self, node: ast.AST | None) -> bool:
        return isinstance(node, ast.Call) and self.dotted(node.func) in BUFFERS

    def argument(self, node: ast.Call, position: int, name: str) -> ast.expr | None:
        by_name = [keyword.value for keyword in node.keywords if keyword.arg == name]
        return by_name[0] if by_name else node.args[position] if len(node.args) > position else None

    def dotted(self, node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value)}.{node.attr}"
        return self.modules.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def writes_in(source: str) -> list[tuple[int, str]]:
    visitor = Writes()
    visitor.visit(ast.parse(source))
    return visitor.found


@pytest.mark.slow
def test_only_the_door_changes_the_disk() -> None:
    files = sorted(path for path in PACKAGE.rglob("*.py") if path != DOOR)
    assert files
    calls = [(p.relative_to(PACKAGE).as_posix(), *call) for p in files for call in writes_in(p.read_text())]
    found = [f"{path}:{line}: {call}" for path, line, call in calls if (path, call) not in EXCEPTIONS]
    assert not found, "go through autolabel.store instead:\n" + "\n".join(found)


def test_the_door_itself_is_recognised() -> None:
    calls = {call for _, call in writes_in(DOOR.read_text())}
    assert {"os.open", "os.ftruncate", "source.rename", "path.unlink", "path.mkdir", "path.rmdir"} <= calls


@pytest.mark.parametrize(
    "source",
    [
        "open(p, 'w')", "open(p, mode='ab')", "open(p, 'r+')", "open(p, m)", "p.open('xb')", "p.open(mode='w')",
        "p.write_text('')", "p.write_bytes(b'')", "p.mkdir(parents=True)", "p.unlink()", "p.touch()", "p.rmdir()",
        "p.rename(q)", "p.replace(q)", "p.symlink_to(q)",
        "import os\nos.rename(a, b)", "from os import remove as rm\nrm(a)", "import os as o\no.makedirs(a)",
        "import os\nos.open(p, os.O_WRONLY | os.O_CREAT)",
        "import shutil\nshutil.rmtree(p)", "from shutil import copyfile\ncopyfile(a, b)",
        "import tempfile\ntempfile.mkdtemp()", "import logging\nlogging.FileHandler(p)",
        "import torch\ntorch.save(x, p)", "import torch\ntorch.save(x, f=p)",
        "import torch\ntorch.export.save(x, p)", "import numpy as np\nnp.save(p, x)",
        "image.save(p)", "image.save(out / 'x.png')", "np.savez(p, x=x)", "plt.savefig(p)", "array.tofile(p)",
        "import h5py\nh5py.File(p, 'w')", "from h5py import File\nFile(p, mode='a')",
        "import pyarrow.parquet as pq\npq.write_table(t, p)", "import json\njson.dump(x, f)",
        "from safetensors.torch import save_file\nsave_file(x, p)", "import zipfile\nzipfile.ZipFile(p, 'w')",
        "from io import BytesIO\ndef f():\n b = BytesIO()\ndef g(b):\n image.save(b)",
    ],
)  # fmt: skip
def test_writes_are_found(source: str) -> None:
    assert writes_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "open(p)", "open(p, 'rb')", "p.open('rb')", "p.open()", "p.read_bytes()", "'a'.replace('b', 'c')",
        "import dataclasses\ndataclasses.replace(x, a=1)", "from PIL import Image\nImage.open(b)",
        "import h5py\nh5py.File(p)", "import h5py\nh5py.File(p, 'r')", "import os\nos.open(p, os.O_RDONLY)",
        "import os\nos.open(os.devnull, os.O_WRONLY)", "canvas.touch(points, 0.5)", "self.save(data)",
        "import io, h5py\ndef f():\n b = io.BytesIO()\n with h5py.File(b, 'w') as h:\n  pass",
        "from io import BytesIO\ndef f():\n with BytesIO() as b:\n  image.save(b, format='PNG')",
        "import io, torch\ndef f():\n b: io.BytesIO = io.BytesIO()\n torch.save(x, b)",
        "import io, torch\ndef f(b: io.BytesIO):\n torch.save(x, b)",
        "import pyarrow as pa, pyarrow.parquet as pq\ndef f():\n s = pa.BufferOutputStream()\n pq.write_table(t, s)",
        "from safetensors.torch import save\nsave(x)", "import safetensors.torch\nsafetensors.torch.save(x)",
        "import shutil\nshutil.get_terminal_size()", "draft.write('x', b'')",
    ],
)  # fmt: skip
def test_reads_and_buffers_are_not(source: str) -> None:
    assert writes_in(source) == []
