"""The scripts in benchmarks/: what they compute, what they write, and what they would run."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import growth  # noqa: E402 - the scripts are no package
import growth_report  # noqa: E402 - likewise
import journal  # noqa: E402 - likewise
import report  # noqa: E402 - likewise
import stream  # noqa: E402 - likewise
import web  # noqa: E402 - likewise
import web_peers  # noqa: E402 - likewise
import web_report  # noqa: E402 - likewise
from documents import parts_of, table, with_parts  # noqa: E402 - likewise
from rendered import parts_of_figures  # noqa: E402 - likewise
from web_proof import proof_of  # noqa: E402 - likewise

from happy.bench.model import Line, Work, predict, throughput  # noqa: E402 - likewise

# --- documents ------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]))


def marked(name, text):
    return f"<!-- figures: {name} -->\n{text}<!-- end of figures -->"


@given(st.dictionaries(NAMES, TEXTS), st.dictionaries(NAMES, TEXTS), TEXTS)
def test_only_what_is_between_marks_is_replaced(there, new, prose):
    """Parts that are named are replaced; others, and what people wrote, stay; twice is once."""
    document = prose.join(["", *(marked(name, text) for name, text in there.items()), ""])
    once = with_parts(document, new)
    assert with_parts(once, new) == once
    expected = {name: f"\n{new[name].strip()}\n\n" if name in new else text
                for name, text in there.items()}  # fmt: skip
    assert parts_of(once) == expected
    assert re.sub(r"-->\n.*?<!--", "", once, flags=re.DOTALL) == re.sub(
        r"-->\n.*?<!--", "", document, flags=re.DOTALL
    )


def test_a_table_has_its_numbers_to_the_right():
    """The first column names, the others count."""
    assert (
        table(("", "a", "b"), [("x", "1", "2")]) == "|  | a | b |\n|---|---:|---:|\n| x | 1 | 2 |\n"
    )


# --- web ------------------------------------------------------------------------------------------


def run(per_s, p50_us=1_000.0, cpu_s=1.0):
    return {"answers": per_s, "duration_us": 1_000_000, "p50_us": p50_us, "p99_us": 2 * p50_us,
            "cpu_s": cpu_s}  # fmt: skip


def test_a_row_is_the_median_of_its_rounds():
    """Rate, latencies and processor time, with the least and the most."""
    found = web_report.summary_of([run(100, cpu_s=0.1), run(300, cpu_s=0.3), run(200, 3_000.0)])
    assert (found["per_s"], found["least_per_s"], found["most_per_s"]) == (200, 100, 300)
    assert (found["p50_ms"], found["p99_ms"]) == (1.0, 2.0)
    assert found["cpu_us"] == 1_000.0


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 9)), min_size=1, max_size=9))
def test_a_ratio_is_that_within_a_round(rounds):
    """Whatever disturbed a round disturbed both: three times as fast in each is three."""
    theirs = [run(rate) for rate, _ in rounds]
    ours = [run(3 * rate) for rate, _ in rounds]
    assert web_report.ratio_of(ours, theirs) == pytest.approx(3.0)


def test_ratios_are_of_what_was_measured():
    """A goal whose peer is missing is left out; the others have ratio and goal."""
    runs = {("happy POST /next", 64): [run(300)], ("Apache static file", 64): [run(100)]}
    assert web_report.ratios_of(runs) == [
        {"clients": 64, "ours": "happy POST /next", "theirs": "Apache static file",
         "ratio": 3.0, "goal": 1.8}
    ]  # fmt: skip


def test_every_goal_is_about_rows_that_there_are():
    """A row that is called otherwise would never reach its goal, and nobody would see."""
    names = {row.name for row in web_peers.ROWS}
    assert {name for _, *pair, _ in web_report.GOALS for name in pair} <= names


def test_every_row_has_a_server():
    """What is asked can be started."""
    assert {row.server for row in web_peers.ROWS} <= set(web_peers.SERVERS)


REQUEST = '7 recvfrom(9, "POST /next HTTP/1.1\\r\\n", 65536, 0, NULL, NULL) = 60'
ANSWER = '7 sendto(9, "HTTP/1.1 200 OK\\r\\n", 90, 0, NULL, 0) = 90'


@pytest.mark.parametrize(
    ("lines", "answers", "after_sync"),
    [
        ([REQUEST, "8 fdatasync(5) = 0", ANSWER], 1, 1),
        ([REQUEST, "8 fdatasync(5 <unfinished ...>", "8 <... fdatasync resumed>) = 0", ANSWER],
         1, 1),
        ([REQUEST, ANSWER], 1, 0),
        ([REQUEST, ANSWER, "8 fdatasync(5) = 0"], 1, 0),
        (["8 fdatasync(5 <unfinished ...>", REQUEST, "8 <... fdatasync resumed>) = 0", ANSWER],
         1, 0),
        ([REQUEST, "8 fdatasync(5) = -1 EIO (Input/output error)", ANSWER], 1, 0),
        ([REQUEST, "8 fdatasync(5 <unfinished ...>", ANSWER, "8 <... fdatasync resumed>) = 0"],
         1, 0),
        ([REQUEST, "8 fdatasync(5) = 0", ANSWER, REQUEST, ANSWER], 2, 1),
    ],
)  # fmt: skip
def test_an_answer_without_its_own_sync_is_seen(lines, answers, after_sync):
    """A sync counts that began after the request, ended before the answer, and worked."""
    found = proof_of(lines)
    assert (found.answers, found.after_sync) == (answers, after_sync)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ('1 fdatasync(5) = 0\n1 write(7, "HFRM", 4) = 4\n', (0, 1, 1)),
        ('1 write(7, "HFRM", 4) = 4\n1 fdatasync(5) = 0\n', (1, 1, 1)),
        ('1 fdatasync(5) = 0\n1 write(7, "HFRM", 4) = 4\n1 write(7, "HFRM", 4) = 4\n', (1, 1, 2)),
    ],
)
def test_a_frame_that_is_handed_over_early_is_seen(trace, expected):
    """Each hand-over to the core needs a sync of its own before it."""
    assert stream.handed_early(trace) == expected


@pytest.mark.parametrize("value", ["", "0", "1,", "64 256", "1001", "many"])
def test_clients_that_are_no_numbers_are_refused(value):
    """What cannot be counted, or is too many, is a sentence."""
    with pytest.raises(web.click.BadParameter):
        web._counts(None, None, value)


def test_rows_are_chosen_by_server_or_name():
    """`--only` takes either, and refuses what is neither."""
    assert {row.server for row in web._rows(None, None, "nginx,apache")} == {"nginx", "apache"}
    assert [row.name for row in web._rows(None, None, "happy get /last")] == ["happy GET /last"]
    with pytest.raises(web.click.BadParameter):
        web._rows(None, None, "iis")


def test_processor_time_is_read_of_a_tree():
    """Our own process is in its tree, and has used some time."""
    sum(range(2_000_000))
    assert os.getpid() in web_peers.tree_of([os.getpid()])
    assert web_peers.cpu_s([os.getpid()]) > 0


# --- growth ---------------------------------------------------------------------------------------

WORK = Work(front_us=20.0, container_us=8.0, wait_us=150.0)


def grown(noise=1.0):
    """Return figures as the model has them, but for the points that it predicts."""
    response = Line(150.0, 28.0)
    steps = [10_000, 30_000, 100_000, 300_000, 1_000_000]

    def off(index):
        return noise if index % 2 else 1.0

    return {
        "clients": [
            {"clients": n, "per_s": throughput(response, n) * off(i), "p50_us": 900.0,
             "p99_us": 2_000.0, "cpu_us": 28.0, "events_per_sync": n / 2, "wrong": 0}
            for i, n in enumerate(growth.CLIENTS)
        ],
        "events": [{"events": n, "per_s": 50_000, "events_per_sync": 512.0} for n in steps],
        "restarts": [{"rows": 10_000, "tail": n, "seconds": (0.2 + n * 2e-6) * off(i),
                      "memory_bytes": 60e6} for i, n in enumerate(steps)],
        "rows": [
            {"rows": n, "tail": 0, "seconds": 0.1 + n * 3e-6, "memory_bytes": 50e6 + n * 300,
             "per_s": 40_000, "p50_us": 900.0, "p99_us": 2_000.0, "cpu_us": 20.0}
            for n in steps
        ],
        "fronts": [
            {"fronts": n, "clients": 256, "cores": 2, "front_us": 20.0 if n else 0.0,
             "container_us": 8.0, "load_us": 7.0, "p50_us": 1.0, "p99_us": 2.0, "wrong": 0,
             "per_s": round(predict(WORK, fronts=n, cores=2, clients=256, load_us=7.0).per_s)}
            for n in growth.FRONTS
        ],
    }  # fmt: skip


def test_what_grows_as_the_model_has_it_is_predicted():
    """Constants of some points predict the others to the per cent."""
    predictions = growth_report.checked(grown())
    assert len(predictions) == 18
    assert max(abs(one["error"]) for one in predictions) < 0.01
    assert growth_report.holds(predictions)


def test_what_grows_otherwise_is_told():
    """A curve that is half as high where it was predicted is off, and the page says so."""
    predictions = growth_report.checked(grown(noise=0.5))
    assert not growth_report.holds(predictions)
    missed = [one["what"] for one in predictions if abs(one["error"]) > growth_report.ERROR_MAX]
    assert f"; {len(missed)} of 18 are off" in growth_report.checked_table(predictions)
    assert any("clients" in what for what in missed)
    assert any("to replay" in what for what in missed)


@pytest.mark.parametrize(
    ("missing", "region"),
    [("fronts", "fronts"), ("rows", "state"), ("restarts", "events"), ("events", "events")],
)
def test_growth_is_told_without_a_part_of_it(missing, region):
    """Where there was no time for something, its table says so, and nothing else is missing."""
    regions = growth_report.regions({**grown(), missing: []})
    silent = [name for name, text in regions.items() if text == "This was not measured.\n"]
    assert silent == [f"growth-{region}"]
    assert "(benchmarks/growth-" not in regions[f"growth-{region}"]


def test_the_budget_of_the_processors_is_told():
    """Who was busy adds up, and a processor more is predicted with the load on it."""
    rows = [
        {"fronts": 0, "clients": 256, "cores": 2, "front_us": 0.0, "container_us": 20.0,
         "load_us": 10.0, "p99_us": 2.0, "per_s": 45_000},
        {"fronts": 2, "clients": 256, "cores": 2, "front_us": 20.0, "container_us": 8.0,
         "load_us": 10.0, "p99_us": 2.0, "per_s": 50_000},
    ]  # fmt: skip
    said = growth_report.budget_table({"fronts": rows}, WORK)
    assert "| none | 0.00 | 0.90 | 0.45 | 1.35 of 2 |" in said
    more = predict(WORK, fronts=2, cores=3, clients=256, load_us=10.0)
    assert f"| 2 | 1.00 | 0.40 | 0.50 | 1.90 of 2 | {more.per_s:,.0f} | {more.bottleneck} |" in said


def test_events_per_frame_are_those_of_the_run():
    """Frames before and behind it do not count."""
    frames = [(1, 1), (2, 4), (6, 6), (12, 100)]
    assert growth.events_per_frame(frames, {"seqs": (1, 11)}) == 5.0


def test_changes_go_round_the_rows():
    """As many rows as there are, each in its turn, and no new one."""
    changes = growth.puts(3)
    assert [next(changes).key for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_bounds_of_the_journal_are_judged():
    """A lone append that takes too long beyond its sync breaks its bound, and no other."""
    figures = {
        "appends": [
            {"way": way, "batch": batch, "p50_us": us}
            for batch in journal.BATCHES
            for way, us in (("happy", 100.0), *((peer, 110.0) for peer in journal.PEERS))
        ],
        "streams": [
            {"clients": 1, "beyond_sync_p50_us": 400.0, "events_per_sync": 1.0},
            {"clients": 64, "events_per_sync": 32.0},
        ],
    }
    assert [held for _, held in journal.bounds_of(figures)] == [False, True, True, True]


# --- the report -----------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("name", report.COMMANDS)
def test_every_benchmark_understands_its_command(name, short, tmp_path):
    """No option that a script does not have: it would be found out after ten minutes."""
    python, script, *options = report.argv_of(name, tmp_path, tmp_path / "json", short=short)
    assert python == sys.executable
    module = importlib.import_module(Path(script).stem)
    with module.main.make_context(script, options) as context:
        assert (
            "json" in context.params or "json_file" in context.params or context.params["as_json"]
        )


def test_the_page_is_what_the_figures_say():
    """docs/benchmarks.md and README.md hold the figures that are kept, and no others."""
    figures = report.read_figures()
    parts = parts_of_figures(figures)
    for document in report.DOCUMENTS:
        text = document.read_text("utf-8")
        if figures["runs"]:
            assert with_parts(text, parts) == text, f"{document}: run benchmarks/report.py --render"


def test_readme_and_page_have_the_same_numbers():
    """There is one truth: the numbers of the README are those of docs/benchmarks.md."""
    page, readme = (parts_of(path.read_text("utf-8")) for path in report.DOCUMENTS)
    assert readme["numbers"].strip()
    assert readme["numbers"] == page["numbers"]
    assert set(readme) <= set(page)


def test_the_page_has_a_place_for_everything_that_is_measured():
    """Each generated part stands somewhere in the page."""
    page = parts_of(report.DOCUMENTS[0].read_text("utf-8"))
    figures = FIGURES | {"growth": grown()}
    assert set(parts_of_figures(figures)) == set(page)


def test_a_short_run_is_nothing_to_quote():
    """What was only to see that it works makes no headline, in the README least of all."""
    short = {"web": {"date": "2026-01-01", "load_before": 0.1, "short": True}}
    assert "numbers" not in parts_of_figures(FIGURES | {"runs": short})


ROW = {"kind": "number", "per_s": 30_000, "least_per_s": 29_000, "most_per_s": 31_000,
       "p50_ms": 2.0, "p99_ms": 4.0, "cpu_us": 30.0}  # fmt: skip
STREAM = {"numbers_per_s": 1_100_000, "rounds": [
    {"numbers_per_s": 1_100_000, "events_per_frame": 4_096, "maker_cpu_us": 0.15,
     "order_cpu_us": 0.2, "core_cpu_us": 0.8}]}  # fmt: skip
FIGURES = {
    "machine": {"cores": 2, "processor": "p", "kernel": "k", "python": "3", "file_system": "ext4"},
    "runs": {"web": {"date": "2026-01-01", "load_before": 0.1, "short": False}},
    "web": {
        "clients": [64, 256],
        "machine": {"nginx": "nginx version: nginx/1.22.1", "cores": 2},
        "rows": [{"name": name, "clients": n, **ROW} for n in (64, 256)
                 for name in ("happy POST /next", "Apache static file")],
        "ratios": [{"clients": 64, "ours": "happy POST /next", "theirs": "Apache static file",
                    "ratio": 2.0, "goal": 1.8}],
        "missing": {"granian": "it is not installed"},
        "wrong": [],
        "closed": {"Apache static file": 23},
        "half": [{"name": "happy POST /next", "clients": 64, "rate": 15_000, "p50_us": 900.0,
                  "p99_us": 3_000.0}],
        "lone": {"p50_us": 400.0, "sync_us": 130.0, "beyond_us": 270.0},
        "proof": {"answers": 900, "after_sync": 900, "syncs": 905},
    },
    "stream": STREAM,
    "distinct": STREAM,
    "journal": {
        "appends": [{"way": way, "batch": batch, "p50_us": 120.0, "p99_us": 400.0}
                    for batch in (1, 64) for way in ("happy", "lmdb")],
        "streams": [{"clients": 64, "events_per_s": 60_000, "p50_us": 900.0, "p99_us": 2_000.0,
                     "events_per_sync": 32.0}],
    },
    "fronts": {"rows": [
        {"load": load, "clients": n, "one_per_s": 10_000, "fronts_per_s": 12_000, "ratio": 1.2,
         "least_ratio": 1.1, "most_ratio": 1.3, "one_us": 90.0, "fronts_us": 80.0,
         "container_us": 20.0, "load_us": 15.0, "wrong": 0}
        for load in ("orders", "bare") for n in (64, 256)]},
    "replay": {"numbers, 1024 a frame": 1_000_000.0, "updates, owner changes": 200_000.0},
    "mail": {"rows": [{"name": name, "bytes": 1_000, "per_s": 4_000, "least_per_s": 3_900,
                       "most_per_s": 4_100, "cpu_us": 200.0} for name in ("happy", "postfix")]},
}  # fmt: skip


def test_three_kinds_of_speed_are_three_lines():
    """HTTP requests, events through the order and numbers of the stream are never one figure."""
    said = parts_of_figures(FIGURES)["numbers"]
    for what in ("durable numbers over HTTP", "durable events through the order, no door",
                 "durable numbers from a stream maker"):  # fmt: skip
        assert sum(what in line for line in said.splitlines()) >= 1
    assert "2.0 x Apache static file" in said


def test_what_is_left_out_and_what_is_wrong_is_said():
    """A peer that could not be started is named, and so is a wrong answer."""
    said = parts_of_figures(FIGURES)
    assert "Left out: granian, it is not installed." in said["web-ratios"]
    assert "Apache static file closed connections that waited: 23 requests" in said["web-ratios"]
    wrong = FIGURES["web"] | {"wrong": ["nginx: 3 refused, 0 broken"]}
    assert "**Wrong**: nginx: 3 refused" in parts_of_figures(FIGURES | {"web": wrong})["web-ratios"]


def test_the_machine_is_told_with_its_peers():
    """Cores, file system, date and versions; nothing to warn of on a quiet machine."""
    said = parts_of_figures(FIGURES)["machine"]
    assert "2 cores (p), Linux k, ext4, Python 3; 2026-01-01." in said
    assert "Beside it: nginx 1.22.1." in said
    assert "**" not in said


@pytest.mark.parametrize(
    ("run_of_web", "warning"),
    [
        ({"date": "2026-01-01", "load_before": 7.5, "short": False}, "busy with other things"),
        ({"date": "2026-01-01", "load_before": 0.1, "short": True}, "In short form"),
    ],
)
def test_figures_that_mean_little_say_so(run_of_web, warning):
    """A busy machine, and a run that was only to see that it works."""
    said = parts_of_figures(FIGURES | {"runs": {"web": run_of_web}})["machine"]
    assert warning in said


def test_figures_are_kept_whole(tmp_path, monkeypatch):
    """What is written down is read again; a benchmark that breaks off leaves it as it was."""
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures" / "figures.json")
    assert report.read_figures() == {"runs": {}}
    report.keep(FIGURES)
    assert report.read_figures() == json.loads(json.dumps(FIGURES))
    figures = report.read_figures()
    monkeypatch.setitem(report.COMMANDS, "web", ("missing.py",))
    assert not report.measure(figures, ["web"], tmp_path, short=False)
    assert figures["web"] == report.read_figures()["web"]
