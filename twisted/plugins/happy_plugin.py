"""The one line by which twistd finds ``happy``."""

from twisted.application.service import ServiceMaker

happy = ServiceMaker("happy", "happy.tap", "Host web and mail applications.", "happy")
