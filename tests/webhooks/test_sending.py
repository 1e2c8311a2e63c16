"""One POST: to the address that was checked and no other, within its time, whatever the other side does."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scalar.webhooks.sending import Sender
from tests.scripted_server import Fault, Scripted, closed_port

_HEADERS = {"webhook-id": "evt_1"}
_BODY = b'{"type":"webhook.ping"}'


class Names:
    """A resolver that answers what it is told to, in order, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, host, _):
        self.asked.append(host)
        return self.answers.pop(0)


@pytest.fixture
def connections(monkeypatch):
    """Every address that somebody tries to connect to; nobody gets through, since no packet may leave this machine."""
    tried = []

    def connect(address, *_, **__):
        tried.append(address)
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def test_it_is_a_post_of_json_with_the_headers_that_were_given(server, sender):
    server.answers(Scripted(status=204))
    outcome = sender.post(f"{server.url}/hooks?team=1", _HEADERS, _BODY)
    assert (outcome.delivered, outcome.status, outcome.message) == (True, 204, None)
    (seen,) = server.seen
    assert (seen.line, seen.query, seen.body) == ("POST /hooks", {"team": ["1"]}, {"type": "webhook.ping"})
    assert seen.headers["webhook-id"] == "evt_1"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_counts(server, sender, status):
    server.answers(Scripted(status=status))
    assert sender.post(server.url, {}, _BODY).delivered


@pytest.mark.parametrize("status", [400, 404, 409, 410, 429, 500, 503])
def test_no_other_status_counts_and_the_beginning_of_the_answer_is_kept(server, sender, status):
    server.answers(Scripted(status=status, body=b"no\x00\xff" + b"x" * 1000))
    outcome = sender.post(server.url, {}, _BODY)
    assert (outcome.delivered, outcome.status, outcome.gone) == (False, status, status == 410)
    assert outcome.message == f"it answered {status}"
    assert outcome.response.startswith("no\N{REPLACEMENT CHARACTER}")
    assert len(outcome.response) == 500


def test_a_redirect_is_not_followed(server, sender):
    server.answers(Scripted(status=307, headers={"Location": f"{server.url}/secret"}), Scripted(status=200))
    outcome = sender.post(server.url, {}, _BODY)
    assert (outcome.status, outcome.delivered) == (307, False)
    assert len(server.seen) == 1


def test_no_proxy_is_used(server, sender, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    server.answers(Scripted(status=200))
    assert sender.post(server.url, {}, _BODY).delivered


@pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.DROPPED_UNREAD])
def test_a_connection_that_breaks_before_the_answer_is_a_failure(server, sender, fault):
    server.answers(Scripted(fault=fault))
    outcome = sender.post(server.url, {}, _BODY)
    assert (outcome.status, outcome.delivered) == (None, False)


def test_an_answer_that_breaks_off_in_its_body_has_been_given(server, sender):
    server.answers(Scripted(status=200, body=b"x" * 1000, fault=Fault.CUT))
    assert sender.post(server.url, {}, _BODY).delivered


def test_nobody_listening_is_a_failure(sender):
    outcome = sender.post(f"http://127.0.0.1:{closed_port()}/", {}, _BODY)
    assert "no connection" in outcome.message


@contextmanager
def _drips(head: bytes, drop: bytes, every: float = 0.1) -> Iterator[tuple[str, threading.Event]]:
    """The URL of a server that says `head` and then a little at a time, for as long as anybody listens."""
    stop, hung_up = threading.Event(), threading.Event()

    def serve(listening):
        listening.settimeout(10)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            try:
                connection.sendall(head)
                while not stop.wait(every):
                    connection.sendall(drop)
            except OSError:
                hung_up.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/", hung_up
        finally:
            stop.set()
            thread.join(10)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", 200),
    ],
)
def test_who_answers_a_byte_at_a_time_has_no_more_time_than_others(head, status, sender):
    quick = Sender(allow_private=True, seconds=0.5, tls=sender._tls)
    with _drips(head, b"x") as (url, _):
        begun = time.monotonic()
        outcome = quick.post(url, {}, _BODY)
        assert time.monotonic() - begun < 2
    assert outcome.status == status
    if status is None:
        assert outcome.message == "no answer within 0.5 seconds"


def test_an_answer_without_end_is_read_to_its_limit_only(sender):
    with _drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, every=0.001) as (url, hung_up):
        begun = time.monotonic()
        assert sender.post(url, {}, _BODY).delivered
        assert time.monotonic() - begun < 3
        assert hung_up.wait(10)


def test_a_name_that_cannot_be_looked_up_is_a_failure(sender):
    def unknown(*_):
        raise socket.gaierror(-2, "Name or service not known")

    outcome = Sender(resolve=unknown, tls=sender._tls).post("https://nowhere.example/", {}, _BODY)
    assert "nowhere.example could not be looked up" in outcome.message


def test_a_resolver_that_hangs_holds_nobody_up(sender):
    release = threading.Event()

    def hangs(*_):
        release.wait(20)
        return ["8.8.8.8"]

    begun = time.monotonic()
    outcome = Sender(resolve=hangs, tls=sender._tls, seconds=0.3).post("https://slow.example/", {}, _BODY)
    release.set()
    assert time.monotonic() - begun < 2
    assert "could not be looked up in time" in outcome.message


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], ["fd00:ec2::254"], ["100.64.0.1"],
        ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"],
    ],
)  # fmt: skip
def test_a_name_that_leads_into_a_network_of_ours_is_not_connected_to(sender, connections, addresses):
    careful = Sender(resolve=Names(addresses), tls=sender._tls)
    outcome = careful.post("https://inside.example/", {}, _BODY)
    assert "not public" in outcome.message
    assert connections == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_our_own_machine_is_not_connected_to_however_it_is_written(sender, connections, host):
    outcome = Sender(tls=sender._tls).post(f"https://{host}/", {}, _BODY)
    assert not outcome.delivered
    assert connections == []


def test_plain_http_is_not_sent_where_the_settings_forbid_private_addresses(sender, connections):
    outcome = Sender(resolve=Names(["8.8.8.8"]), tls=sender._tls).post("http://hooks.example/", {}, _BODY)
    assert "https" in outcome.message
    assert connections == []


def test_a_name_is_looked_up_once_and_the_connection_goes_to_the_address_that_was_checked(
    sender, connections, monkeypatch
):
    """DNS rebinding: public when it is checked, ours when it is connected to."""
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the system was asked as well"))
    outcome = Sender(resolve=names, tls=sender._tls).post("https://rebinds.example/", {}, _BODY)
    assert names.asked == ["rebinds.example"]
    assert connections == [("8.8.8.8", 443)]
    assert "no connection" in outcome.message


def test_the_next_try_checks_anew(sender, connections):
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    careful = Sender(resolve=names, tls=sender._tls)
    careful.post("https://rebinds.example/", {}, _BODY)
    assert "loopback" in careful.post("https://rebinds.example/", {}, _BODY).message
    assert connections == [("8.8.8.8", 443)]


def test_each_address_of_a_name_is_tried(server, sender):
    """The second one answers."""
    port = server.url.rsplit(":", 1)[1]
    server.answers(Scripted(status=200))
    two = Sender(allow_private=True, resolve=Names(["127.0.0.2", "127.0.0.1"]), tls=sender._tls)
    assert two.post(f"http://two.example:{port}/", {}, _BODY).delivered
    assert server.seen[0].headers["host"] == f"two.example:{port}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of hooks.example, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks.example"]
    command += ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    return cert, key


@pytest.fixture
def https(server, certificate):
    """The server, over TLS: (its port, the names that clients asked for)."""
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _, name, __: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_relay_once, args=(listening, context, server.url))
        thread.start()
        yield listening.getsockname()[1], asked
        thread.join(10)


def _relay_once(listening, context, url):
    """One connection, decrypted on its way to the server behind."""
    listening.settimeout(10)
    plain, _ = listening.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as near:
            host, port = url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as far:
                request = b""
                while not request.endswith(b"\r\n\r\n{}"):
                    request += near.recv(65_536)
                far.sendall(request)
                far.shutdown(socket.SHUT_WR)
                while part := far.recv(65_536):
                    near.sendall(part)
    except OSError:
        plain.close()


def _trusting(certificate):
    return ssl.create_default_context(cafile=str(certificate[0]))


def test_tls_and_the_host_header_know_the_name_though_the_connection_goes_to_an_address(server, https, certificate):
    port, asked = https
    server.answers(Scripted(status=200))
    names = Names(["127.0.0.1"])
    outcome = Sender(allow_private=True, resolve=names, tls=_trusting(certificate)).post(
        f"https://hooks.example:{port}/in", {}, b"{}"
    )
    assert outcome.delivered, outcome
    assert asked == ["hooks.example"]
    assert server.seen[0].headers["host"] == f"hooks.example:{port}"


def test_a_certificate_for_another_name_is_refused(server, https, certificate):
    port, _ = https
    names = Names(["127.0.0.1"])
    outcome = Sender(allow_private=True, resolve=names, tls=_trusting(certificate)).post(
        f"https://other.example:{port}/in", {}, b"{}"
    )
    assert "certificate" in outcome.message.lower()
    assert server.seen == []
