"""The house as docs/architecture.md draws it: imports go down, libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [  # from the roof to the ground; a room imports what stands below it
    ("hashdb.__main__",),
    ("hashdb.cli",),
    ("hashdb.evaluation",),
    ("hashdb.testing",),
    ("hashdb.datasets",),
    ("hashdb.api",),
    ("hashdb.index",),
    ("hashdb.describing",),
    ("hashdb.building",),
    ("hashdb.writing", "hashdb.querying", "hashdb.repairing"),
    ("hashdb.reading", "hashdb.stored_vectors", "hashdb.results"),
    ("hashdb.model",),
    ("hashdb.registry",),
    ("hashdb.plugin",),
    ("hashdb.params",),
    ("hashdb.hookspecs",),
    ("hashdb.search",),
    ("hashdb.replacing",),
    ("hashdb.storage",),
    ("hashdb.inputs",),
    ("hashdb.margins",),
    ("hashdb.codes",),
    ("hashdb.search.kernels",),
    ("hashdb.memory",),
    ("hashdb.progress", "hashdb.errors", "hashdb.forks"),
]
IMPORT_HOMES = {
    "numba": ("hashdb.search.kernels", "hashdb_plugins._kernels"),
    "llvmlite": ("hashdb.search.kernels", "hashdb_plugins._kernels"),
    "zarr": ("hashdb.storage", "hashdb.inputs"),
    "click": ("hashdb.cli",),
    "pluggy": ("hashdb.hookspecs", "hashdb.registry"),
}
PLUGINS_MAY_IMPORT = {"hashdb", "hashdb.errors", "hashdb.margins", "hashdb_plugins"}


def modules() -> dict[str, Path]:
    found = {}
    for base in (ROOT, ROOT / "plugins"):
        for package in ("hashdb", "hashdb_plugins"):
            for path in (base / package).rglob("*.py"):
                parts = path.relative_to(base).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room they come from"
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str) -> int:
    matches = [
        (len(name), level)
        for level, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    assert matches, f"{module} has no layer: place it in the list and in docs/architecture.md"
    return max(matches)[1]


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("hashdb.")))
def test_imports_go_down(module: str) -> None:
    level = layer_of(module)
    for imported in imports(MODULES[module]):
        if imported.startswith("hashdb.") and imported in MODULES:
            below = layer_of(imported)
            assert below >= level, f"{module} imports {imported}, which stands above it"
            rooms = [".".join(name.split(".")[:2]) for name in (module, imported)]
            assert below > level or rooms[0] == rooms[1], f"{module} imports {imported} of the same floor"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_libraries_stay_in_their_rooms(module: str) -> None:
    for imported in imports(MODULES[module]):
        homes = IMPORT_HOMES.get(imported.split(".")[0])
        assert homes is None or module.startswith(homes), f"{module} imports {imported}"
        if module.startswith("hashdb."):
            assert not imported.startswith("hashdb_plugins"), (
                f"the core knows no method, but {module} imports {imported}"
            )
        if module.startswith("hashdb_plugins") and imported.startswith("hashdb.") and imported in MODULES:
            assert imported in PLUGINS_MAY_IMPORT, f"{module} imports {imported}, which is not public"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_stay_small(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_hashdb_loads_nothing_heavy() -> None:
    heavy = ["numba", "zarr", "scipy", "sklearn", "click", "pluggy"]
    code = f"import hashdb, sys; print([name for name in {heavy} if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_opening_and_reading_an_index_needs_neither_zarr_nor_numba(path: Path, vectors: object) -> None:
    import hashdb

    hashdb.build(path, vectors, method="lsh", n_bits=32).close()
    code = (
        "import sys, hashdb\n"
        f"index = hashdb.open({str(path)!r})\n"
        "index.query_ids([0], k=3); index.info()\n"
        "print([name for name in ('zarr', 'numba', 'sklearn', 'hashdb_plugins') if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    import hashdb

    assert len(set(hashdb.__all__)) == len(hashdb.__all__)
    for name in hashdb.__all__:
        assert getattr(hashdb, name).__doc__, name
    assert set(hashdb.__all__) <= set(dir(hashdb))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hashdb.nothing  # noqa: B018
