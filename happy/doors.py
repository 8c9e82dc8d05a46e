"""The doors and runners of an application, made from its configuration."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory

from happy.app import App
from happy.config import AppConfig, Config
from happy.debts import Runner
from happy.effects import Call, SendMail
from happy.stream import Stream
