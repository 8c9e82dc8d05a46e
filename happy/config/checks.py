"""What is looked up about mail that comes in: ``check = ["spf", "dkim", "dmarc", "arc"]``."""

from __future__ import annotations

from typing import Any, Final, NewType

from happy.config.reader import did_you_mean
from happy.wire.mail_checks import CHECKS
from happy.wire.spf_check import MISSING, installed

Checks = NewType("Checks", tuple[str, ...])

_NEEDED: Final = ("spf", "dkim")


def read_checks(value: Any, _: Any) -> tuple[str, ...]:
    """Return the names of some checks; ``ValueError`` is a sentence."""
    if not isinstance(value, list):
        raise ValueError(  # noqa: TRY004 - it is told like any other
            f"expected a list of {', '.join(CHECKS)}"
        )
    for name in value:
        if name not in CHECKS:
            hint = did_you_mean(name, CHECKS) if isinstance(name, str) else ""
            raise ValueError(f"expected {', '.join(CHECKS)}, not {name!r}{hint}")
    missing = [name for name in _NEEDED if name not in value]
    if "dmarc" in value and missing:
        raise ValueError(f"dmarc is made of spf and dkim: add {' and '.join(missing)}")
    if "spf" in value and not installed():
        raise ValueError(MISSING)
    return tuple(name for name in CHECKS if name in value)
