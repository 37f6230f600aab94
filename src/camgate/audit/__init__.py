"""The audit: scores, interventions, statistics, and the runner that joins them.

`camgate.audit` is a package and, by the public contract, also a function. Whichever is imported
first, `camgate.audit(...)` works: the package itself is callable and hands over to `runner.audit`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `camgate.audit.runner.audit`."""
        from camgate.audit.runner import audit

        return audit(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
