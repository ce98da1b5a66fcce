"""Finds strategies by name: every module of this package, and of an owner's own folder, that has a `BaseStrategy`."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polybot.strategies as package
from polybot.domain.errors import BadInput
from polybot.strategies.base import BaseStrategy


def find_strategies(own_folder: Path | None = None) -> dict[str, type[BaseStrategy]]:
    """All strategies by their `name`. Raises BadInput if two share one, or a file of the owner's cannot be imported."""
    found: dict[str, type[BaseStrategy]] = {}
    for module in (*_package_modules(), *_own_modules(own_folder)):
        for _, candidate in inspect.getmembers(module, inspect.isclass):
            if candidate.__module__ != module.__name__ or not issubclass(candidate, BaseStrategy):
                continue
            if inspect.isabstract(candidate):
                continue
            if not getattr(candidate, "name", ""):
                raise BadInput(f"strategy {candidate.__name__} in {module.__name__} has no `name`; give it one")
            if candidate.name in found:
                raise BadInput(f"two strategies are named {candidate.name!r}; rename the one in {module.__name__}")
            found[candidate.name] = candidate
    return found


def _package_modules() -> Iterator[ModuleType]:
    for entry in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{package.__name__}.{entry.name}")


def _own_modules(folder: Path | None) -> Iterator[ModuleType]:
    if folder is not None and not folder.is_dir():
        raise BadInput(f"the folder of your own strategies, {folder}, does not exist")
    for path in sorted(folder.glob("*.py")) if folder is not None else ():
        spec = importlib.util.spec_from_file_location(f"polybot_own_strategies.{path.stem}", path)
        if spec is None or spec.loader is None:
            raise BadInput(f"{path} cannot be imported as a strategy")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where annotations written as text are looked up
        try:
            spec.loader.exec_module(module)
        except (ImportError, SyntaxError, NameError, TypeError, AttributeError, ValueError) as error:
            raise BadInput(f"strategy file {path} cannot be imported: {error}") from error
        yield module
