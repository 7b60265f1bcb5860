"""One surface, three lists: the C module, its typed contract and the package's __all__."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path

import tinycoro
from sources import ROOT
from tinycoro import _core


def _names_in_stub() -> set[str]:
    tree = ast.parse((ROOT / "tinycoro" / "_core.pyi").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def test_the_stub_names_what_the_c_module_has() -> None:
    assert _names_in_stub() == {name for name in vars(_core) if not name.startswith("_")}


def test_all_names_exist_and_are_listed_once() -> None:
    names = list(tinycoro.__all__)
    assert len(names) == len(set(names))
    missing = [name for name in names if not hasattr(tinycoro, name)]
    assert not missing


def test_public_names_of_the_package_are_in_all() -> None:
    submodules = {path.stem for path in (ROOT / "tinycoro").iterdir()}
    # "@": what pytest puts there, which rewrites the assertions of whatever comes with a plugin.
    public = {name for name in vars(tinycoro) if not name.startswith(("_", "@"))}
    assert public - submodules - {"annotations"} <= set(tinycoro.__all__)


def test_the_c_module_does_not_import_the_package() -> None:
    users = [
        path.name
        for path in (ROOT / "csrc" / "python").glob("*.c")
        if 'PyImport_ImportModule("tinycoro' in path.read_text(encoding="utf-8")
    ]
    assert not users


def test_the_shared_object_exports_its_init_function_only() -> None:
    spec = importlib.util.find_spec("tinycoro._core")
    assert spec is not None
    assert spec.origin is not None
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", Path(spec.origin)],
        capture_output=True,
        text=True,
        check=True,
    )
    symbols = {line.split()[0] for line in listing.stdout.splitlines()}
    # A sanitizer build defines symbols of its own.
    assert {name for name in symbols if not name.startswith("__")} == {"PyInit__core"}
