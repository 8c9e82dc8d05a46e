"""A real browser shows the archive, and nothing that somebody wrote runs in it."""

from __future__ import annotations

import re
import subprocess

import pytest

from conftest import need
from smtp_sink import Sink
from test_end_to_end import BOTH, subscribe, swaks

HOSTILE = """\
From: ann@example.org
To: dev@lists.example
Subject: <script>document.title = 'taken'</script> hello
Message-ID: <hostile@example.org>
Date: Mon, 23 Nov 2026 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

<img src=x onerror="document.title = 'taken'"> plain words
--b
Content-Type: text/html; charset=utf-8

<script>document.title = 'taken'</script><p onclick="1">marked-up words</p>
--b--
"""


@pytest.fixture
def sink():
    """A smarthost."""
    made = Sink()
    yield made
    made.close()


def browse(url: str, folder) -> str:
    """Return a page as a browser has it after its scripts had their time to run."""
    done = subprocess.run(
        [
            need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=2000", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_hostile_letter_is_words_in_a_browser(container, sink, tmp_path):
    """Markup in a subject or a body is shown as it was written, and none of it runs."""
    house = container(BOTH.format(port=sink.port)).start()
    subscribe(house, sink, "ann@example.org")
    letter = tmp_path / "letter"
    letter.write_text(HOSTILE)
    to = ("--to", "dev@lists.example", "--from", "ann@example.org")
    said = swaks(house, *to, "--data", f"@{letter}")
    seq = re.search(r"250 2\.0\.0 Ok lists/(\d+)", said).group(1)
    base = f"http://127.0.0.1:{house.port('lists', 'http')}"
    message = browse(f"{base}/dev/{seq}", tmp_path)
    assert "plain words" in message
    assert "&lt;img src=x onerror=" in message
    for page in (message, browse(f"{base}/dev", tmp_path)):
        title = re.search(r"<title>(.*?)</title>", page, re.DOTALL).group(1)
        assert "taken" not in title.partition("document.title")[0]
        assert "&lt;script&gt;" in page
        assert "<script" not in page
