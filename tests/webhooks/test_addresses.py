"""Where webhooks may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.webhooks.addresses import why_not_address, why_not_url

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "100.100.100.200",
    "127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c:0:0:80ff:fefe", "2001:db8::1",
    "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1",
    "ff02::1", "2600::1%eth0",
    "", "localhost", "127.1", "0x7f000001", "2130706433", "017700000001", "1.2.3", "1.2.3.4.5",
]  # fmt: skip
TAKEN = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.1", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "168.63.129.15", "::ffff:8.8.8.8", "2600:1f18::1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e",
    "2001:4860:4860::8888", "2001:200::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused_with_the_reason(address):
    assert why_not_address(address)


@pytest.mark.parametrize("address", TAKEN)
def test_a_public_address_is_taken(address):
    assert why_not_address(address) is None


@given(st.ip_addresses(v=4))
def test_what_python_knows_to_be_private_is_refused_in_each_of_its_spellings(address):
    if not address.is_global or address.is_multicast:
        assert why_not_address(str(address))
    assert why_not_address(f"::ffff:{address}") == why_not_address(str(address))
    assert why_not_address(f"::{address}")
    assert why_not_address(f"64:ff9b::{address}")


@given(st.ip_addresses(v=6))
def test_no_address_of_the_sixth_version_that_python_knows_to_be_private_is_taken(address):
    if (not address.is_global or address.is_multicast) and address.ipv4_mapped is None:
        assert why_not_address(str(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "https://example.com/", "https://example.com:8443/hooks/scalar?team=1",
        "https://xn--bcher-kva.example/", "https://8.8.8.8/", "https://[2606:4700:4700::1111]/x", "HTTPS://EXAMPLE.COM/",
    ],
)  # fmt: skip
def test_a_url_that_can_be_registered(url):
    assert why_not_url(url, allow_private=False) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "https://"),
        ("ftp://example.com/", "https://"),
        ("//example.com/", "https://"),
        ("example.com", "https://"),
        ("", "characters"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://example.com:0/", "host"),
        ("https://example.com:port/", "no URL"),
        ("https://example.com:99999/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://user:secret@example.com/", "password"),
        ("https://8.8.8.8@example.com/", "user"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/ x", "ASCII"),
        ("https://example.com/\r\nX-Header: 1", "ASCII"),
        ("https://example.com\\@127.0.0.1/", "ASCII"),
        ("https://bücher.example/", "ASCII"),
        ("https://example.com/" + "x" * 2048, "2048"),
        ("https://127.0.0.1/", "loopback"),
        ("https://[::1]/", "public"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://localhost/", "this machine"),
        ("https://LOCALHOST./", "this machine"),
        ("https://db.localhost:5432/", "this machine"),
    ],
)
def test_a_url_that_can_not_be_registered_and_why(url, why):
    assert why in why_not_url(url, allow_private=False)


def test_where_the_settings_allow_it_a_local_server_will_do():
    assert why_not_url("http://127.0.0.1:8080/", allow_private=True) is None
    assert why_not_url("http://localhost/", allow_private=True) is None
    assert why_not_url("ftp://127.0.0.1/", allow_private=True)
