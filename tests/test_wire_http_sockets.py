"""The HTTP door on real sockets: what only a kernel shows."""

import contextlib

from twisted.web.static import File

from http_socket_kit import read_all, served


def test_refused_upload_hears_its_answer(tmp_path):
    """A client in the middle of a huge upload reads 413, not a reset."""
    with served(File(str(tmp_path)), http_body_bytes_max=1_000) as server:
        client = server.connect()
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        client.setblocking(False)
        sent = 0
        while sent < 500_000:
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b"x" * 50_000)
            server.turn()
        client.settimeout(60)
        answer = server.during(lambda: read_all(client))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"\n")


def test_slow_reader_of_a_large_file_gets_it_whole(tmp_path):
    """A file goes to a slow reader at the reader's pace, and arrives byte for byte."""
    content = bytes(range(256)) * 40_000
    (tmp_path / "f").write_bytes(content)
    with served(File(str(tmp_path))) as server:
        client = server.connect(receive_bytes=4_096)
        client.sendall(b"GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for _ in range(50):
            server.turn()
        answer = server.during(lambda: read_all(client))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == content
