import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.names import address_order, normal_dns_name, normal_ip_address

LABEL = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True)
DNS_NAME = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABEL, max_size=4),
    st.text(string.ascii_letters, min_size=1, max_size=10),
)


def connectable(address) -> bool:
    plain = (address.ipv4_mapped if address.version == 6 else None) or address
    return not (plain.is_unspecified or plain.is_multicast)


ADDRESS = st.ip_addresses().filter(connectable)


@given(DNS_NAME)
def test_case_and_a_root_dot_are_no_difference_between_names(name: str) -> None:
    assert normal_dns_name(name) == normal_dns_name(name.upper() + ".") == name.lower()


@given(st.text(max_size=300))
def test_any_text_is_either_refused_or_normalised_once_and_for_all(text: str) -> None:
    for normal in (normal_dns_name, normal_ip_address):
        try:
            once = normal(text)
        except ValueError:
            continue
        assert normal(once) == once
        assert once.isascii()


@given(ADDRESS)
def test_every_spelling_of_an_address_becomes_the_same_text(address) -> None:
    spellings = {str(address), address.exploded, address.compressed.upper()}
    if address.version == 4:
        spellings.add(f"::ffff:{address}")
    assert len({normal_ip_address(text) for text in spellings}) == 1


@given(st.lists(ADDRESS))
def test_addresses_sort_by_family_and_value_not_by_text(addresses) -> None:
    texts = sorted({normal_ip_address(str(address)) for address in addresses}, key=address_order)
    values = [ipaddress.ip_address(text) for text in texts]
    fours = [value for value in values if value.version == 4]
    assert values == sorted(fours) + sorted(value for value in values if value.version == 6)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "*.example.com",
        "a b",
        "a\n",
        "a\x00.b",
        "10.0.0.1",
        "a.1",
        "\u212aubernetes",  # the Kelvin sign: lower() would make a k of it
        "a\u0661",  # an Arabic digit
        "b\u00fccher.example",
        "a" * 64,
        ".".join(["a" * 50] * 6),
        "https://a",
        "a:6443",
    ],
)
def test_what_is_no_dns_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        normal_dns_name(name)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0",
        "10.0.0.1/24",
        "010.0.0.1",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "fe80::1%eth0",
        " 10.0.0.1",
        "a",
    ],
)
def test_what_nobody_can_connect_to_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        normal_ip_address(address)


def test_a_dns_name_has_at_most_253_characters() -> None:
    longest = ".".join(["a" * 50] * 4 + ["b" * 49])
    assert len(longest) == 253
    assert normal_dns_name(longest) == longest
    with pytest.raises(ValueError):
        normal_dns_name(longest + "b")
