"""What the configuration says of DKIM: who signs for which domain, with which key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader, HostName
from happy.wire.dkim import Signer, load_key

_KEYS: Final = {"domain": HostName, "selector": str, "key": Path}
_SELECTOR: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


def signers_of(reader: ConfigReader, key: KeyPath, raw: Any) -> tuple[Signer, ...]:
    """Return who signs, from a table or a list of them; complain about what cannot be meant."""
    if raw is None:
        return ()
    rows = (
        [((*key, n), each) for n, each in enumerate(raw)] if isinstance(raw, list) else [(key, raw)]
    )
    signers = [_signer(reader, place, row) for place, row in rows]
    return tuple(signer for signer in signers if signer is not None)


def _signer(reader: ConfigReader, key: KeyPath, raw: Any) -> Signer | None:
    good = reader.table(key, raw, _KEYS, required=_KEYS)
    if "selector" in good and not _SELECTOR.fullmatch(good["selector"]):
        reader.complain((*key, "selector"), f"{good['selector']!r} is not a name in DNS")
        return None
    if good.keys() != _KEYS.keys():
        return None
    try:
        return Signer(good["domain"], good["selector"], load_key(good["key"]))
    except ValueError as error:
        reader.complain((*key, "key"), str(error))
        return None
