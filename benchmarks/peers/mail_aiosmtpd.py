"""An aiosmtpd that answers when the mail is in a file of its own and synced; PORT and DIRECTORY."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

NUMBERS = count()
DIRECTORY = Path(sys.argv[2])


class Keeping:
    """Writes each mail down, one sync for the file and one for its name."""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Keep one."""
        file = os.open(DIRECTORY / str(next(NUMBERS)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, envelope.content)
        os.fsync(file)
        os.close(file)
        os.fsync(FOLDER)
        return "250 2.0.0 kept"


FOLDER = os.open(DIRECTORY, os.O_RDONLY)


async def main() -> None:
    """Serve until somebody ends it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Keeping(), hostname="localhost", loop=loop), "127.0.0.1", int(sys.argv[1])
    )
    await server.serve_forever()


asyncio.run(main())
