"""The server, asked over HTTP: answers are the model's, requests at different λ never mix, faults get 4xx and a sentence."""

from __future__ import annotations

import http.client
import json
import math
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import netdial as nd
from netdial.cli import main
from netdial.cli.app import app
from netdial.core.errors import ConfigError, DataError
from netdial.data.tables.columns.number import Number
from netdial.family.config import FamilyConfig
from netdial.models.use import Use
from netdial.nets import build

pytest.importorskip("fastapi")
from netdial.serve.app import Served, ServerLimits, application, at_once, written
from netdial.serve.members import KeptMembers
from netdial.serve.requests import columns_of
from netdial.serve.running import GRACE, bound, server_of

SHAPE, LIMITS = (5,), ServerLimits(body_bytes=20_000, rows=50, threads=4)
Ask = Callable[..., tuple[int, Any]]


def family() -> nd.Family:
    torch.manual_seed(0)
    config = FamilyConfig(lo=0.01, hi=100, objective="scaled-kl", posterior="normal")
    made = nd.Family(build("mlp:8", input_shape=SHAPE, n_outputs=3), config)
    with torch.no_grad():  # members that differ, as after training
        for table in made.parameters():
            table.add_(torch.randn_like(table))
    return made.eval()


def served(most_bytes: int = 10**9) -> Served:
    use = Use(task={"name": "classification"}, classes=("a", "b", "<i>c</i>"))
    return Served("toy", KeptMembers(family(), use, most_bytes), use, shape=SHAPE)


class Running:
    """A server in a thread, on a free port."""

    def __init__(self, what: Served, limits: ServerLimits = LIMITS) -> None:
        self.listening = bound("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        self.server = server_of(application(what, limits, ["127.0.0.1"]))
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
        link.request(method, path, content, headers)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        kind = answer.getheader("content-type") or ""
        return answer.status, json.loads(text) if "json" in kind and text else text.decode()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    one = Running(served())
    yield one
    one.stop()


@pytest.fixture(scope="module")
def ask(running: Running) -> Ask:
    return running.ask


def rows(n: int, seed: int = 0) -> list[list[float]]:
    found: list[list[float]] = torch.randn(
        n, *SHAPE, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    return found


def expected(made: nd.Family, x: list[list[float]], lam: float) -> list[list[float]]:
    with torch.no_grad():
        probs: list[list[float]] = made.export(lam)(torch.tensor(x)).double().softmax(1).tolist()
    return probs


def given(answer: Any) -> list[list[float]]:
    return [
        [row[f"probability of {c}"] for c in ("a", "b", "<i>c</i>")]
        for row in answer["predictions"]
    ]


def test_answers_are_those_of_the_member(ask: Ask) -> None:
    for lam in (0.01, 0.7, 100.0):
        code, answer = ask("POST", "/predict", {"lam": lam, "rows": rows(3)})
        assert code == 200
        assert answer["lam"] == lam
        for mine, theirs in zip(given(answer), expected(family(), rows(3), lam), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-6)


@pytest.mark.slow
def test_requests_at_different_lambdas_never_mix() -> None:
    one = (
        KeptMembers(
            family(), Use(task={"name": "classification"}, classes=("a", "b", "<i>c</i>")), 1
        )
        .at(1.0)
        .bytes
    )
    what = served(most_bytes=3 * one)  # members go and come back while others are at work
    running = Running(what)
    lams = [0.01 * 10 ** (k / 3) for k in range(12)]
    truth = {lam: expected(family(), rows(2), lam) for lam in lams}
    chance = random.Random(0)
    asked = [chance.choice(lams) for _ in range(240)]

    def one_request(lam: float) -> float:
        code, answer = running.ask("POST", "/predict", {"lam": lam, "rows": rows(2)})
        assert code == 200
        assert answer["lam"] == lam
        pairs = zip(given(answer), truth[lam], strict=True)
        return max(abs(a - b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True))

    with ThreadPoolExecutor(8) as pool:
        worst = max(pool.map(one_request, asked))
    assert worst < 1e-6
    assert len(what.members.kept) <= 3
    assert what.members.bytes <= 3 * one
    running.stop()


def test_a_member_is_made_once() -> None:
    members = served().members
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(members.at, [0.5] * 16))
    assert members.made == 1
    assert len({id(one.net) for one in found}) == 1


def test_only_quick_members_that_are_kept_are_answered_where_requests_arrive() -> None:
    what = served()
    body = json.dumps({"lam": 1.0, "rows": rows(1)}).encode()
    assert at_once(what, LIMITS, body) is None
    later = written(what, LIMITS, body)
    ready = what.members.at(1.0)
    ready.pace.seconds = 1e-5
    assert at_once(what, LIMITS, body) == later
    ready.pace.seconds = 1.0
    assert at_once(what, LIMITS, body) is None
    ready.pace.seconds = 1e-5
    with what.members._lock:  # as while another member is made
        assert at_once(what, LIMITS, body) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[1, 2]", "list"),
        (b'{"rows": [[1,2,3,4,NaN]]}', "NaN"),
        (b'{"rows": [[1,2,3,4,Infinity]]}', "Infinity"),
        (b'{"lam": 1, "rows": [[1,2,3,4,1e999]]}', "finite"),
        (b'{"lam": 1, "rows": [[1,2,3,4,1e300]]}', "float32"),
        (b"[" * 15_000, "nested"),
        (b'{"rows": ' + b"[" * 3000 + b"]" * 3000 + b"}", "nest"),
        ({"lam": 1}, "rows"),
        ({"lam": 1, "rows": []}, "at least one"),
        ({"lam": 1, "rows": [[1, 2]]}, "[2]"),
        ({"lam": 1, "rows": [[1, 2, 3, 4, 5], [1]]}, "differ in shape"),
        ({"lam": 1, "rows": [["x"] * 5]}, "numbers"),
        ({"lam": 1, "rows": [[None] * 5]}, "numbers"),
        ({"lam": 1, "rows": [{"a": 1}]}, "numbers"),
        ({"lam": 1, "rows": [[True] * 5]}, "numbers"),
        ({"lam": 1, "rows": rows(51)}, "51"),
        ({"lam": 1e9, "rows": rows(1)}, "range"),
        ({"lam": 0.001, "rows": rows(1)}, "range"),
        ({"lam": -1, "rows": rows(1)}, "lam=-1"),
        ({"lam": "0.1", "rows": rows(1)}, "lam='0.1'"),
        ({"lam": True, "rows": rows(1)}, "lam=True"),
        ({"rows": rows(1)}, "which member"),
        ({"lam": 1, "rows": rows(1), "level": 1}, "level=1"),
        ({"lam": 1, "rows": rows(1), "lamda": 2}, "lamda"),
        (b'{"lam": 1, "lam": 2, "rows": [[1,2,3,4,5]]}', "'lam' is given twice"),
        (b'{"lam" :1, "lam"\t: 2, "rows": [[1,2,3,4,5]]}', "'lam' is given twice"),
        (b'{"l\\u0061m": 1, "lam": 2, "rows": [[1,2,3,4,5]]}', "'lam' is given twice"),
        (b'{"rows": [[1,2,3,4,5]], "lam": 2, "rows": [[1,2,3,4,5]]}', "'rows' is given twice"),
        (b'{"lam": ' + b"9" * 5000 + b', "rows": [[1,2,3,4,5]]}', "not JSON"),
    ],
)
def test_what_is_wrong_is_a_400_with_a_sentence(ask: Ask, body: Any, said: str) -> None:
    code, answer = ask("POST", "/predict", body)
    assert code == 400
    assert said in answer["error"]["message"]


def test_large_bodies_are_refused_and_the_next_request_is_served(ask: Ask) -> None:
    code, answer = ask("POST", "/predict", b"[" + b"1," * 100_000)
    assert code == 413
    assert "20000" in answer["error"]["message"]
    assert ask("POST", "/predict", {"lam": 1, "rows": rows(1)})[0] == 200


def raw(port: int, *parts: bytes) -> socket.socket:
    """Returns a connection on which parts of a request were sent, one after the other."""
    link = socket.create_connection(("127.0.0.1", port), timeout=10)
    for part in parts:
        link.sendall(part)
    return link


HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (CHUNKED, *[b"1000\r\n" + b" " * 4096 + b"\r\n"] * 6),  # 24 576 bytes, and no end
        (HEAD + b"Content-Length: 99999999999\r\n\r\n",),
        (HEAD + b"Content-Length: 20001\r\n\r\n", b"{"),
    ],
)
def test_a_large_body_is_refused_before_it_ends(running: Running, parts: tuple[bytes, ...]) -> None:
    with raw(running.port, *parts) as link:
        answer = b""
        while b"}}" not in answer:  # the connection stays open, and the answer is there
            more = link.recv(65536)
            assert more
            answer += more
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"20000 bytes" in answer
    assert running.ask("GET", "/health")[0] == 200


def test_a_body_that_does_not_come_holds_nobody_up() -> None:
    slow = Running(served(), replace(LIMITS, threads=1, seconds=0.3))
    waiting = [raw(slow.port, HEAD + b"Content-Length: 100\r\n\r\n", b"{") for _ in range(9)]
    started = time.perf_counter()
    assert slow.ask("POST", "/predict", {"lam": 1, "rows": rows(1)})[0] == 200
    assert time.perf_counter() - started < 0.3
    for link in waiting:
        assert b" 408 " in link.recv(65536)
        link.close()
    slow.stop()


@pytest.mark.slow
def test_many_slow_bodies_hold_up_no_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdial.serve.app._ARRIVING", 1)
    slow = Running(served(), replace(LIMITS, body_bytes=500_000, rows=10_000, seconds=20.0))
    whole = json.dumps({"lam": 1, "rows": rows(3000)}).encode()
    length = b"Content-Length: %d\r\n\r\n" % len(whole)
    assert 64_000 < len(whole) < 500_000
    waiting = [raw(slow.port, HEAD + b"Content-Length: 100\r\n\r\n", b"{") for _ in range(80)]
    first, second = raw(slow.port, HEAD + length, whole[:-1]), raw(slow.port, HEAD + length, whole)
    started = time.perf_counter()
    assert slow.ask("POST", "/predict", {"lam": 1, "rows": rows(1)})[0] == 200
    second.settimeout(0.5)
    with pytest.raises(TimeoutError):  # there is one place for large bodies, and it is taken
        second.recv(1)
    first.close()  # it is free again
    second.settimeout(10)
    assert b" 200 " in second.recv(65536)
    assert time.perf_counter() - started < 10
    for link in (*waiting, second):
        link.close()
    slow.stop()


def test_who_hangs_up_leaves_no_traceback(
    running: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = json.dumps({"lam": 1, "rows": rows(3)}).encode()
    length = b"Content-Length: %d\r\n\r\n" % len(whole)
    for parts in (
        (HEAD + length, whole[:5]),
        (CHUNKED, b"10\r\n{"),
        (CHUNKED, *[b"1000\r\n" + b" " * 4096 + b"\r\n"] * 6),
        (HEAD + length, whole),
        (HEAD[:9],),
        (HEAD + b"Content-Length: -5\r\n\r\n",),
    ):
        raw(running.port, *parts).close()
    for _ in range(3):
        assert running.ask("POST", "/predict", {"lam": 1, "rows": rows(1)})[0] == 200
    said = capfd.readouterr()
    assert "Traceback" not in said.err + said.out
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]


def test_other_addresses_and_methods(ask: Ask) -> None:
    assert ask("GET", "/predict")[0] == ask("HEAD", "/predict")[0] == 405
    for path in ("/health", "/models", "/openapi.json", "/"):
        assert ask("HEAD", path) == (ask("GET", path)[0], "")
    assert ask("GET", "/nothing")[0] == 404
    assert ask("GET", "/")[0] == 404  # this model has no page
    for host in (
        "elsewhere.example",
        "127.0.0.1.elsewhere.example",
        "127.0.0.1:80:80",
        "[::1]",
        "",
    ):
        code, answer = ask("GET", "/health", Host=host)
        assert code == 400
        assert "answers to 127.0.0.1 alone" in answer["error"]["message"]
    assert ask("GET", "/health", Host="127.0.0.1:1")[0] == 200
    assert ask("GET", "/health")[1]["status"] == "ok"
    [about] = ask("GET", "/models")[1]["models"]
    assert about["lam"] == {"lo": 0.01, "hi": 100, "default": None}
    assert about["shape"] == [5]
    schema = ask("GET", "/openapi.json")[1]
    content = schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(content["application/json"]["schema"]["properties"]) == {"rows", "lam", "level"}


def test_a_port_in_use_is_said() -> None:
    first = bound("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"port {port}.*--port"):
        bound("127.0.0.1", port)
    first.close()


def test_a_host_that_is_not_of_this_machine_is_said() -> None:
    for host in ("nosuch.invalid", "192.0.2.1"):
        with pytest.raises(ConfigError, match=f"host {host}: .*--host"):
            bound(host, 0)


def test_a_page_is_named_where_there_is_one() -> None:
    from netdial.cli.serving import _addresses

    assert _addresses("http://a:1", served()) == "http://a:1/predict"
    paged = replace(served(), page=lambda: "")
    assert _addresses("http://a:1", paged) == "http://a:1 (page), http://a:1/predict"


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [n for n in sys.modules if n.startswith("netdial.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", "nothing"]) == 2
    assert "pip install 'netdial[serve]'" in capsys.readouterr().err


TABLE = "size,town,label\n" + "".join(
    f"{k % 9},{'Ayr' if k % 3 else '<b>Bonn</b>'},{'yes' if k % 9 > 4 else 'no'}\n"
    for k in range(90)
)


def test_a_table_by_its_columns_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netdial.cli.serving import _served

    (tmp_path / "t.csv").write_text(TABLE)
    command = f"fit {tmp_path}/t.csv --target label --epochs 1 --points 3 --samples 1 --name t --quiet --runs-dir {tmp_path}"
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    running = Running(_served(tmp_path / "t", LIMITS, None, trust=False))
    asked = [{"size": 3, "town": "Ayr", "more": [1]}, {"size": None, "town": "nowhere"}]
    code, answer = running.ask("POST", "/predict", {"lam": 1, "rows": asked})
    assert code == 200
    assert {"label", "probability of yes", "probability of no"} == set(answer["predictions"][0])
    assert any("nowhere" in remark for remark in answer["remarks"])
    shares = [answer["predictions"][0][f"probability of {c}"] for c in ("yes", "no")]
    assert math.isclose(sum(shares), 1)
    for bad, said in (
        ({"size": 3}, "town"),
        ({"size": "three", "town": "Ayr"}, "three"),
        ({"size": [1], "town": "Ayr"}, "cell"),
        ({"size": True, "town": "Ayr"}, "'size': true is no number"),
        ([3, "Ayr"], "object"),
    ):
        code, answer = running.ask("POST", "/predict", {"lam": 1, "rows": [bad]})
        assert code == 400
        assert said in answer["error"]["message"]
    for body in (
        b'{"rows": [{"size": 1e999, "town": "Ayr"}]}',
        b'{"rows": [{"size": 2, "town": -1e999}]}',
        b'{"rows": [{"size": ' + b"9" * 400 + b', "town": "Ayr"}]}',
    ):
        code, answer = running.ask("POST", "/predict", body)
        assert code == 400
        assert "too large" in answer["error"]["message"]
        assert "--" not in answer["error"]["message"]  # a request has no options of commands
    for body, said in (
        (b'{"lam": 1, "rows": [{"size": 2, "town": "Ayr", "size": 3}]}', "'size' is given twice"),
        (
            b'{"lam": 1, "rows": [{"size": 2, "town": ":", "town": "\\":"}]}',
            "'town' is given twice",
        ),
    ):
        code, answer = running.ask("POST", "/predict", body)
        assert code == 400
        assert said in answer["error"]["message"]
    for town in ("at 12:30", ':"', '":', '\\":', '"town":'):  # no key, whatever it looks like
        row = {"size": 2, "town": town, "more": {":": [{":": 1}]}}
        assert running.ask("POST", "/predict", {"lam": 1, "rows": [row]})[0] == 200
    code, html = running.ask("GET", "/?lam=abc")
    assert code == 200
    assert "connect-src 'self'" in html
    assert "<b>Bonn</b>" not in html
    running.stop()


def test_truth_values_are_numbers_where_training_saw_but_two() -> None:
    of = {"kind": "number", "column": "a", "fill": 0.0, "missing": False}
    two, many = (Number(**of, mean=0.25, std=std) for std in (0.1875**0.5, 0.3))
    assert columns_of([{"a": True}], [two]) == {"a": [True]}
    with pytest.raises(DataError, match="true is no number"):
        columns_of([{"a": True}], [many])


def test_damaged_and_missing_runs_are_refused(tmp_path: Path) -> None:
    assert main(["serve", "nothing", "--runs-dir", str(tmp_path), "--port", "0"]) == 2
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "records.jsonl").write_text("")
    assert main(["serve", "r", "--runs-dir", str(tmp_path), "--port", "0"]) == 2
    fit = f"fit wine --epochs 1 --points 3 --name w --quiet --runs-dir {tmp_path}"
    assert main(fit.split()) == 0
    records = tmp_path / "w" / "records.jsonl"
    whole = records.read_text()
    records.write_text(whole.replace('"value"', '"valve"', 1))
    assert main(["serve", "w", "--runs-dir", str(tmp_path), "--port", "0"]) == 2
    assert main(["report", "w", "--runs-dir", str(tmp_path)]) == 2
    records.write_text("".join(whole.splitlines(keepends=True)[:-4]))
    assert main(["serve", "w", "--runs-dir", str(tmp_path), "--port", "0"]) == 2
    assert main(["report", "w", "--runs-dir", str(tmp_path)]) == 2
    records.write_text(whole)
    config = tmp_path / "w" / "config.json"
    config.write_text(config.read_text().replace('"format": 2', '"format": 99', 1))
    assert main(["serve", "w", "--runs-dir", str(tmp_path), "--port", "0"]) == 2
    assert main(["report", "w", "--runs-dir", str(tmp_path)]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_that_it_stopped(tmp_path: Path, number: signal.Signals) -> None:
    fit = f"fit wine --epochs 1 --points 3 --name w --quiet --runs-dir {tmp_path}"
    assert main(fit.split()) == 0
    code = "from netdial.cli import main; raise SystemExit(main())"
    words = [sys.executable, "-u", "-c", code, "serve", str(tmp_path / "w"), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        assert "stop with Ctrl-C" in one.stdout.readline()
        one.send_signal(number)
        assert "w: stopped" in one.stdout.read()
        assert one.wait(20) == 0
        assert one.stderr.read() == ""


@pytest.mark.slow
def test_a_request_that_does_not_end_is_cut_off_and_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = Running(served())
    with socket.create_connection(("127.0.0.1", running.port)) as link:
        link.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
        while not running.server.server_state.tasks:
            time.sleep(0.005)
        running.server.should_exit = True
        running.thread.join(GRACE + 10)
        assert not running.thread.is_alive()
        assert b" 503 " in link.recv(1000).splitlines()[0] + b" "
    assert running.server.cut == 1
    assert "Traceback" not in capfd.readouterr().err


def test_what_pages_need_is_loaded_before_the_first_request() -> None:
    drawn: list[str] = []

    def page() -> str:
        drawn.append("page")
        return "<p>here</p>"

    running = Running(replace(served(), page=page))
    try:
        assert drawn == ["page"]
        assert running.ask("GET", "/") == (200, "<p>here</p>")
    finally:
        running.stop()


def test_what_the_server_fails_at_is_said_as_json() -> None:
    asked: list[int] = []

    def page() -> str:
        asked.append(1)
        if len(asked) == 1:  # once before the first request
            return ""
        raise RuntimeError("a secret of the machine")

    running = Running(replace(served(), page=page))
    code, answer = running.ask("GET", "/")
    running.stop()
    assert code == 500
    assert answer["error"]["type"] == "RuntimeError"
    assert "secret" not in answer["error"]["message"]
