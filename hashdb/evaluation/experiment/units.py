"""What is measured: a method, perhaps with a quantiser, at a length of code, in a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hashdb import registry
from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment.material import Material
from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.hookspecs import MethodInfo
from hashdb.inputs.formats import nearest
from hashdb.model import check_fit

Params = dict[str, Any]


@dataclass(frozen=True)
class Scheme:
    """A method, a quantiser for its projections or None, and the params that the user chose.

    Attributes
    ----------
    method : str
    quantiser : str or None
    params : mapping
        With the keys ``method.NAME`` and ``quantiser.NAME``.
    """

    method: str
    quantiser: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """As the command line writes it."""
        return self.method if self.quantiser is None else f"{self.method}+{self.quantiser}"

    @property
    def info(self) -> MethodInfo:
        """What the method says of itself."""
        return registry.get(self.method, kind="method").info

    def complete(self, n_bits: int, chosen: Mapping[str, Any] | None = None) -> Params:
        """Give all params with their defaults; a quantiser's that the method has too is ``quantiser.NAME``.

        Raises
        ------
        ArgumentError, PluginError
            As :func:`hashdb.fit` before it looks at rows.
        """
        given = {**self.params, **(chosen or {})}
        own, quantisers = check_fit(self.method, n_bits, quantiser=self.quantiser, params=given)
        return own | {f"quantiser.{name}" if name in own else name: value for name, value in quantisers.items()}


@dataclass(frozen=True)
class Unit:
    """A scheme at a number of bits in a run: what one fit serves, and one file keeps."""

    scheme: Scheme
    n_bits: int
    run: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.scheme.name}-{self.n_bits}-run{self.run:02d}"


def schemes_of(names: Iterable[str], params: Mapping[str, Mapping[str, Any]]) -> list[Scheme]:
    """Read names such as ``itq+npq``, and give each plugin its params.

    Parameters
    ----------
    names : iterable of str
    params : mapping of plugin name to mapping of param to value

    Raises
    ------
    ArgumentError
        A name twice or of another form, or params of a plugin that does not take part.
    PluginError
        A plugin that is missing or broken.
    """
    schemes: list[Scheme] = []
    for name in names:
        method, plus, quantiser = name.partition("+")
        if not method or (plus and not quantiser) or "+" in quantiser:
            raise ArgumentError(f"method {name!r} cannot be read, expected METHOD or METHOD+QUANTISER")
        registry.get(method, kind="method")
        given = {f"method.{key}": value for key, value in params.get(method, {}).items()}
        if plus:
            registry.get(quantiser, kind="quantiser")
            given |= {f"quantiser.{key}": value for key, value in params.get(quantiser, {}).items()}
        scheme = Scheme(method, quantiser or None, given)
        if scheme in schemes:
            raise ArgumentError(f"method {name!r} is named twice, expected once")
        schemes.append(scheme)
    if not schemes:
        raise ArgumentError("there are no methods, expected some to measure")
    taking = {part for scheme in schemes for part in (scheme.method, scheme.quantiser) if part}
    for name in params:
        if name not in taking:
            raise ArgumentError(f"params are given for {name!r}, which is not measured{nearest(name, taking)}")
    return schemes


def units_of(schemes: Iterable[Scheme], bits: Iterable[int], runs: int) -> Iterator[Unit]:
    """Give every unit, run by run."""
    for run, scheme, n_bits in product(range(runs), list(schemes), list(bits)):
        yield Unit(scheme, n_bits, run)


def check_schemes(schemes: Iterable[Scheme], bits: Iterable[int], material: Material, protocol: Protocol) -> None:
    """Raise ArgumentError for a scheme that cannot be measured on these data by this protocol."""
    bits = list(bits)
    for scheme in schemes:
        info = scheme.info
        _check_input(info, material)
        if info.needs_labels and material.labels is None:
            raise ArgumentError(f"method {info.name} learns from labels, and {material.name} has none")
        for n_bits in bits:
            scheme.complete(n_bits)
        if protocol.database_codes == "learned" and scheme.quantiser is not None:
            raise ArgumentError(f"{scheme.name} learns no codes of its training rows, expected a method alone")


def _check_input(info: MethodInfo, material: Material) -> None:
    if info.input != "vectors":
        raise ArgumentError(f"method {info.name} takes {info.input}, expected a method that learns from vectors")
    if info.is_paired and not material.is_paired:
        raise ArgumentError(
            f"method {info.name} learns from paired modalities, but {material.name} has one kind of vectors; "
            "take data of pairs, such as wiki"
        )
    if not info.is_paired and material.is_paired:
        raise ArgumentError(
            f"method {info.name} learns from one kind of vectors, but {material.name} has the modalities "
            f"{', '.join(material.vectors)}; take a cross-modal method (`hashdb methods` lists them)"
        )
