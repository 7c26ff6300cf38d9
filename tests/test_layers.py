"""What the package needs in order to be imported."""

from __future__ import annotations

import subprocess
import sys

IMPORT_EVERYTHING_WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

extras = (
    "hoppet nnpdf_data uproot awkward pyhepmc h5py fsspec aiohttp mpi4py "
    "submitit horovod sbi zuko tensorboard scipy beartype hypothesis pytest"
)
sys.modules.update(dict.fromkeys(extras.split()))  # None makes an import fail

import unscatter

modules = [module.name for module in pkgutil.walk_packages(unscatter.__path__, "unscatter.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert len(modules) > 20, modules
"""


def test_every_module_imports_without_any_extra() -> None:
    """A fresh process, since this one has imported the extras already."""
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING_WITHOUT_EXTRAS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
