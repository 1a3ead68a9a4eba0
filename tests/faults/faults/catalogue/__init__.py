"""The faults, one module each, named `fNN_*.py`.

A module has `number` ("F03"), `title`, `selection` ("ci": in every selection, "normal": in
`make faults`, "long": only with LONG=1) and `run(context) -> Report | list[Report]`. A module may
have `needs_root = True`; without root it is then shown as skipped, with the reason.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def all_faults() -> list[ModuleType]:
    """The modules, by number."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("f"))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
