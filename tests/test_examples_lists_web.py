"""The mailing lists by web: the archive, what is shown of hostile mail, and the forms."""

import email.message
import re

import pytest

from happy.examples.lists import MailingLists, Settings
from happy.limits import Limits
from happy.testing import running

SETTINGS = Settings(lists=("dev",), url="https://lists.example")
LIST = "dev@lists.example"
SENDER = "ann@a.example"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def app():
    with running(MailingLists, settings=SETTINGS, domains=("lists.example",)) as running_app:
        subscribe(running_app)
        yield running_app


def subscribe(app):
    """Make the one who writes in these tests a subscriber."""
    app.post("/dev/subscribe", f"address={SENDER}".encode(), headers=FORM)
    (token,) = app.state.requests
    app.post(f"/confirm/{token}")


def mail(app, content):
    """Post a message; return the path of its page."""
    raw = content if isinstance(content, bytes) else bytes(content)
    reply = app.mail(SENDER, LIST, raw)
    assert reply.accepted, reply
    return f"/dev/{reply.text.rpartition('/')[2]}"


def letter(subject="Hello", text="Hello.\n", author=f"Ann <{SENDER}>", **fields):
    """Return a message with text."""
    made = email.message.EmailMessage()
    made["From"] = author
    made["Subject"] = subject
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    made.set_content(text)
    return made


def part_paths(page):
    """Return the download links of a message's page."""
    return re.findall(r'<a href="(/dev/\d+/part/\d+)" dir', page.text)


# --- the archive --------------------------------------------------------------------------------


def test_every_page_is_there(app):
    """From the overview over a list and its threads to a message: each page links the next."""
    path = mail(app, letter("A subject"))
    assert 'href="/dev"' in app.get("/").text
    assert f'href="{path}"' in app.get("/dev").text
    page = app.get(path)
    assert "A subject" in page.text
    assert f'href="{path}/raw"' in page.text
    style = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)[1]
    assert app.get(style).headers["content-type"].startswith("text/css")
    assert app.get("/health").text == "ok\n"


def test_what_is_not_there_is_404(app):
    """A list, page, message, part or token nobody knows is a page that says so."""
    path = mail(app, letter())
    for gone in (
        "/nope", "/dev?page=2", "/dev/99999", "/nope/1", f"{path}/part/9", "/nope/search?q=x",
        "/confirm/0123", "/unsubscribe/0123",
    ):  # fmt: skip
        answer = app.get(gone)
        assert (answer.status, "Sorry" in answer.text) == (404, True), gone
    assert app.get("/dev?page=zero").status == 400
    assert app.post("/dev").status == 405


def test_answers_stand_in_their_thread(app):
    """References, In-Reply-To, and as a last resort the subject join an answer to its thread."""
    first = mail(app, letter("Plan", Message_ID="<1@a>"))
    second = mail(app, letter("Re: Plan", Message_ID="<2@a>", References="<0@x> <1@a>"))
    third = mail(app, letter("Other words", Message_ID="<3@a>", In_Reply_To="<2@a>"))
    fourth = mail(app, letter("AW: Re: plan"))
    other = mail(app, letter("Plan"))
    page = app.get(first).text
    depths = re.findall(r'<li class="d(\d)">.*?(?:href="([^"]+)"|<b)', page)
    assert depths == [("0", ""), ("1", second), ("2", third), ("1", fourth)]
    assert other not in page
    threads = app.get("/dev").text.partition('class="rows"')[2]
    assert re.findall(r"(\d) messages</p>", threads) == ["4"]


def test_the_liveliest_thread_stands_first(app):
    """An answer brings its thread to the top; the pages hold thirty threads each."""
    first = mail(app, letter("Oldest", Message_ID="<1@a>"))
    for number in range(35):
        app.advance(1)
        mail(app, letter(f"Thread {number}"))
    assert first in app.get("/dev?page=2").text
    app.advance(1)
    mail(app, letter("Re: Oldest", In_Reply_To="<1@a>"))
    assert app.get("/dev").text.index("Oldest") < app.get("/dev").text.index("Thread 34")
    assert app.get("/dev?page=2").text.count("<li>") == 6
    assert app.get("/dev?page=3").status == 404


def test_search_finds_all_words_in_any_case(app):
    """Subject, author and text are searched; each of the words must be there."""
    path = mail(app, letter("Über Journale", "A frame is synced.\n"))
    mail(app, letter("Weather", "Rain.\n"))
    for words in ("FRAME", "%C3%BCBER", "synced+journale", "ann+frame"):
        found = app.get(f"/dev/search?q={words}").text
        assert re.findall(r'class="subject"[^>]*href="([^"]+)"', found) == [path], words
    for words in ("frame+rain", "nothing", "", "%3Cscript%3E"):
        answer = app.get(f"/dev/search?q={words}")
        assert "Nothing was found" in answer.text, words
        assert "<script" not in answer.text


def test_raw_is_byte_for_byte(app):
    """What was posted is what is downloaded, trailing blanks and odd bytes included."""
    raw = (
        b"From: ann@a.example\r\nSubject:  odd \t\r\n\r\n"
        b"trailing  \r\n\t\r\n\xff\xfe\x80 8 bit\r\n.dot\r\n\r\n"
    )
    path = mail(app, raw)
    answer = app.get(f"{path}/raw")
    assert answer.body == raw
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_page_that_the_browser_has_is_not_sent_again(app):
    """Pages carry an ETag; one that still holds is answered with 304."""
    path = mail(app, letter())
    tag = app.get(path).headers["etag"]
    assert app.get(path, headers={"If-None-Match": tag}).status == 304
    mail(app, letter("Re: Hello"))
    assert app.get(path, headers={"If-None-Match": tag}).status == 200


# --- hostile mail -------------------------------------------------------------------------------

EVIL = '<script>alert("1")</script>"\'><img src=x onerror=alert(1)>'


def test_nothing_foreign_becomes_html(app):
    """Subject, name, text, file name and media type are text on every page they stand on."""
    message = letter(EVIL, EVIL, author=f'"{EVIL.replace(chr(34), "")}" <{SENDER}>')
    message.add_attachment(b"x", maintype="application", subtype="x", filename=EVIL)
    path = mail(app, message)
    for page in ("/", "/dev", path, "/dev/search?q=alert", "/dev/search?q=%22%3E%3Cscript%3E"):
        text = app.get(page).text
        assert "<script" not in text, page
        assert "<img" not in text, page
        assert "onerror" not in re.sub(r"&lt;img[^<]*", "", text), page


def test_pages_may_load_nothing_and_run_nothing(app):
    """The policy of every page allows our style and pictures, and no script at all."""
    path = mail(app, letter())
    for page in ("/", "/dev", path, "/nope"):
        headers = app.get(page).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), page
        assert "script-src" not in policy
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "https://a\"onclick='x'", "http://"],
)
def test_only_web_addresses_become_links(app, link):
    """A text may hold anything; a link leads to the web and carries nothing else."""
    page = app.get(mail(app, letter(text=f"see {link} now\n")))
    for href in re.findall(r'<a href="([^"]*)"', page.text):
        assert href.startswith(("/", "https://a"))
    assert not re.search(r"<a [^>]*onclick", page.text)


def test_links_and_quotes(app):
    """Links are followed without telling from where, quotes are marked."""
    page = app.get(mail(app, letter(text="> old\nsee https://x.example/?a=1&b=2, and that\n")))
    assert '<span class="quote">&gt; old</span>' in page.text
    assert '<a href="https://x.example/?a=1&amp;b=2" rel="nofollow noopener' in page.text


def test_addresses_are_half_hidden(app):
    """No page but the raw message shows a whole address that could be harvested."""
    path = mail(
        app,
        letter(
            "From bob@b.example",
            "write eve@sub.e.example, eve@sub.e.example https://x.example/\n",
            author=SENDER,
        ),
    )
    for page in ("/", "/dev", path, "/dev/search?q=eve"):
        text = app.get(page).text
        assert not re.search(r"(ann@a|bob@b|eve@sub)\.", text), page
    assert "eve@…" in app.get(path).text
    assert b"eve@sub.e.example" in app.get(f"{path}/raw").body


def test_html_is_shown_as_words(app):
    """A message that is only HTML is read as text, and can be had as a download."""
    message = letter()
    message.set_content(
        "<html><head><style>p{}</style><title>T</title></head><body><!-- secret <p> -->"
        "<p>One &amp; two</p><script>bad()</script><p>Three &lt;b&gt;</p></body></html>",
        subtype="html",
    )
    page = app.get(mail(app, message))
    assert "One &amp; two" in page.text
    assert "Three &lt;b&gt;" in page.text
    assert not re.search(r"bad\(\)|secret|p\{\}", page.text)
    (download,) = part_paths(page)
    assert app.get(download).headers["content-type"] == "application/octet-stream"


def test_of_two_forms_the_plain_one_is_shown(app):
    """multipart/alternative: the text is read, the HTML hangs on it."""
    message = letter(text="plain words\n")
    message.add_alternative("<p>html words</p>", subtype="html")
    page = app.get(mail(app, message))
    assert "plain words" in page.text
    assert "html words" not in page.text
    assert len(part_paths(page)) == 1


@pytest.mark.parametrize("inline_max", [64 * 1024, 1_000])
def test_an_attachment_is_what_was_attached(inline_max):
    """In memory or as a blob, a file is downloaded as it was, under a harmless name."""
    limits = Limits(mail_inline_bytes_max=inline_max)
    with running(MailingLists, settings=SETTINGS, domains=("lists.example",), limits=limits) as app:
        subscribe(app)
        data = bytes(range(256)) * 500
        message = letter()
        message.add_attachment(
            data, maintype="text", subtype="html", filename='../../x\r\n"Ü\u202e.html'
        )
        page = app.get(mail(app, message))
        (download,) = part_paths(page)
        answer = app.get(download)
        assert answer.body == data
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment; ")
        assert re.search(r"filename\*=UTF-8''[^;]*%C3%9C\.html$", disposition)
        assert "/x" not in disposition
        assert "\u202e" not in page.text


def test_pictures_are_shown_and_drawings_with_scripts_are_not(app):
    """PNG and its kind are pictures; SVG is a file, for it may hold a script."""
    message = letter()
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="a.png")
    message.add_attachment(b"<svg/>", maintype="image", subtype="svg+xml", filename="a.svg")
    page = app.get(mail(app, message))
    assert page.text.count("<img") == 1
    png, svg = part_paths(page)
    assert app.get(png).headers["content-type"] == "image/png"
    assert app.get(svg).headers["content-type"] == "application/octet-stream"


HOSTILE = {
    "unknown charset": b"Content-Type: text/plain; charset=klingon\r\n\r\nhi \xff\r\n",
    "charset that is no text": b"Content-Type: text/plain; charset=hex\r\n\r\nhi\r\n",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\nhi\r\n",
    "never begun": b'Content-Type: multipart/mixed; boundary="x"\r\n\r\nhi\r\n',
    "never ended": b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nhi\r\n',
    "deep": b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
    + b'--x\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n' * 300,
    "many": b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"--x\r\n\r\na\r\n" * 2_000,
    "broken base64": b"Content-Transfer-Encoding: base64\r\n\r\n=====@@@@ a\r\n",
    "broken quoted": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ =\r\n=4\r\n",
    "endless parentheses": b"X: " + b"(" * 5_000 + b"\r\n\r\nhi\r\n",
    "marked section": b"Content-Type: text/html\r\n\r\n<![foo[ <!-- <!doctype <a<a<a\r\n",
    "nothing": b"\r\n",
    "encoded words": b"Subject: =?utf-8?b?////?= =?x?q?=FF?= =?utf-16?b?2AA=?=\r\n\r\nhi\r\n",
    "surrogates": b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_message_holds_its_page_is_shown(app, name):
    """No message makes the door, a handler or a page fail."""
    path = mail(app, b"From: ann@a.example\r\n" + HOSTILE[name])
    page = app.get(path)
    assert page.status == 200
    assert app.get("/dev").status == app.get("/dev/search?q=hi").status == 200
    for download in part_paths(page)[:3]:
        assert app.get(download).status == 200


# --- the forms ----------------------------------------------------------------------------------


def test_a_link_that_is_only_followed_changes_nothing(app):
    """Virus scanners follow links: confirming and leaving are buttons."""
    app.post("/dev/subscribe", b"address=bob%40b.example", headers=FORM)
    (token,) = app.state.requests
    before = app.stream.status()["seq"]
    page = app.get(f"/confirm/{token}")
    assert (page.status, page.headers["cache-control"]) == (200, "no-store")
    assert f'<form method="post" action="/confirm/{token}">' in page.text
    leaving = app.state.subscribers["dev", SENDER].token
    assert f'action="/unsubscribe/{leaving}"' in app.get(f"/unsubscribe/{leaving}").text
    assert app.stream.status()["seq"] == before
    assert app.post(f"/confirm/{token}").status == 200
    assert app.state.subscribers.count(list="dev") == 2


def test_the_form_says_the_same_to_all(app):
    """Nobody learns from the page who is on a list, or what was asked before."""
    pages = []
    for address in (SENDER, "bob@b.example"):
        for what in ("subscribe", "unsubscribe"):
            body = f"address={address}".encode()
            page = app.post(f"/dev/{what}", body, headers=FORM)
            assert page.status == 200
            pages.append(page.text.replace(address, "X"))
    assert len(set(pages)) == 1


def test_guessed_tokens_are_not_journaled(app):
    """Confirming and leaving with a token nobody has costs the journal nothing."""
    before = app.stream.status()["seq"]
    assert app.post("/confirm/0123456789abcdef0123").status == 404
    assert app.post("/unsubscribe/0123456789abcdef0123").status == 200
    assert app.stream.status()["seq"] == before
