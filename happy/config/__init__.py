"""The configuration: a TOML file in, a ``Config`` out, or every complaint at once.

``loading`` reads the file as a whole, ``reader`` its tables, ``lines`` says on which line a key
stands, ``endpoints`` and ``imports`` check what a table names.
"""

from happy.config.loading import AppConfig, Config, LogConfig, MailConfig, load

__all__ = ["AppConfig", "Config", "LogConfig", "MailConfig", "load"]
