"""Finds the merchant's `Receiver` from a name such as `payments:receiver`."""

import importlib
import sys
from pathlib import Path

from receiver.app.receiver import Receiver
from receiver.errors import SettingsError


def load_target(target: str) -> Receiver:
    """Import `module:attribute`; the current folder is on the import path.

    Raises:
        SettingsError: the name is malformed, the module is not there, or the attribute is no Receiver. An error
            inside the module is not caught: its own traceback says where it is.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise SettingsError(f"target: {target!r} is not of the form module:attribute, such as payments:receiver")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(f"target: there is no module {module_name!r} in {here} or installed") from None
    found = getattr(module, attribute, None)
    if not isinstance(found, Receiver):
        raise SettingsError(f"target: {module_name!r} has no Receiver named {attribute!r}")
    return found
