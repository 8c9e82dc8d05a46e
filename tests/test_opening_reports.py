"""What an operator hears when an application is opened."""

from twisted.logger import globalLogPublisher

from happy.journal.replay import Reader
from happy.opening_reports import report_end, report_recall, report_replayed
from happy.testing import MemoryDisk


class Recall:
    passed_over = ()


def test_a_new_journal_is_called_new():
    """Nothing is said of snapshots and events that there are not."""
    lines = []

    def observe(entry):
        lines.append(entry["log_format"].format_map(entry))

    reader = Reader(MemoryDisk(), cut=False)
    globalLogPublisher.addObserver(observe)
    report_recall("numbers", Recall(), None)
    report_end("numbers", reader)
    report_replayed("numbers", 0, reader)
    globalLogPublisher.removeObserver(observe)
    assert lines == ["numbers: a new journal was begun"]
