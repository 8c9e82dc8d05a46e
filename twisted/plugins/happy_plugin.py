"""The one line by which twistd finds ``happy``."""

from twisted.application.service import ServiceMaker

happy = ServiceMaker("happy", "happy.tap", "Host applications: HTTP, mail, one durable order.", "happy")
