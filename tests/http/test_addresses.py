"""P16: an IP allow-list cannot be bypassed."""

import pytest

from tests.cast import Front

pytestmark = pytest.mark.promise("P16")

INSIDE, OUTSIDE, PROXY = "203.0.113.7", "192.0.2.1", "127.0.0.1"
ALLOWED = ("203.0.113.0/24", "2001:db8::/32")
FOR = "x-forwarded-for"

CASES: list[tuple[str, str, list[tuple[str, str]], bool]] = [
    # name, peer, headers sent, and whether the key is accepted
    ("from inside", INSIDE, [], True),
    ("from inside, IPv6", "2001:db8::1", [], True),
    ("from inside, mapped", f"::ffff:{INSIDE}", [], True),
    ("from inside, saying otherwise", INSIDE, [(FOR, OUTSIDE)], True),
    ("from outside", OUTSIDE, [], False),
    ("from outside, IPv6", "2001:db9::1", [], False),
    ("no address at all", "", [], False),
    ("a stranger forwards", OUTSIDE, [(FOR, INSIDE)], False),
    ("loopback that is not listed", "127.0.0.2", [(FOR, INSIDE)], False),
    ("the proxy itself", PROXY, [], False),
    ("a proxy forwards", PROXY, [(FOR, INSIDE)], True),
    ("a proxy on IPv6 forwards", "::1", [(FOR, INSIDE)], True),
    ("a proxy on a mapped address forwards", f"::ffff:{PROXY}", [(FOR, INSIDE)], True),
    ("a proxy forwards a mapped address", PROXY, [(FOR, f"::ffff:{INSIDE}")], True),
    ("a proxy forwards from outside", PROXY, [(FOR, OUTSIDE)], False),
    ("the client claims inside", PROXY, [(FOR, f"{INSIDE}, {OUTSIDE}")], False),
    ("the client claims outside", PROXY, [(FOR, f"{OUTSIDE}, {INSIDE}")], True),
    ("the client claims in a field of its own", PROXY, [(FOR, INSIDE), (FOR, OUTSIDE)], False),
    ("two fields", PROXY, [(FOR, OUTSIDE), (FOR, INSIDE)], True),
    ("two proxies", PROXY, [(FOR, f"{INSIDE}, ::1")], True),
    ("the client claims to be behind a proxy", PROXY, [(FOR, f"{INSIDE}, {PROXY}, {OUTSIDE}")], False),
    ("only proxies", PROXY, [(FOR, f"{PROXY}, ::1")], False),
    ("nonsense", PROXY, [(FOR, "nonsense")], False),
    ("nonsense behind inside", PROXY, [(FOR, f"{INSIDE}, nonsense")], False),
    ("nonsense before inside", PROXY, [(FOR, f"nonsense, {INSIDE}")], True),
    ("empty", PROXY, [(FOR, "")], False),
    ("a trailing comma", PROXY, [(FOR, f"{INSIDE},")], False),
    ("unknown", PROXY, [(FOR, "unknown")], False),
    ("a port", PROXY, [(FOR, f"{INSIDE}:4711")], True),
    ("brackets", PROXY, [(FOR, "[2001:db8::1]")], True),
    ("a zone", PROXY, [(FOR, "2001:db8::1%eth0")], False),
    ("leading zeros", PROXY, [(FOR, "203.0.113.007")], False),
    ("full-width", PROXY, [(FOR, "２０３.0.113.7".encode().decode("latin-1"))], False),
    ("a range", PROXY, [(FOR, "203.0.113.0/24")], False),
    ("X-Real-IP", PROXY, [("x-real-ip", INSIDE)], False),
    ("Forwarded", PROXY, [("forwarded", f"for={INSIDE}")], False),
    ("True-Client-IP", PROXY, [("true-client-ip", INSIDE), ("cf-connecting-ip", INSIDE)], False),
    ("X-Original-Forwarded-For", PROXY, [("x-original-forwarded-for", INSIDE)], False),
]


@pytest.mark.parametrize(
    ("peer", "fields", "may"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_whose_address_counts(front: Front, peer: str, fields: list[tuple[str, str]], may: bool) -> None:
    """P16 breaks: a key is accepted from outside its allow-list, or refused inside it."""
    house = front.house
    limited = house.key(house.account(), allowed_ips=ALLOWED).secret.reveal()
    free = house.key(house.account("Free")).secret.reveal()
    for target in ("/v1/capabilities", "/v1/authorize/-", "/v1/authorize-nginx/-", "/v1/service-accounts"):
        for _ in range(2):  # from the database, then from the cache
            answer = front.ask("GET", target, key=limited, headers=fields, peer=peer)
            assert answer.status == (200 if may else 403), target
        if not may and "authorize" in target:
            assert answer.headers["x-auth-error"] == "ip_not_allowed"
        assert front.ask("GET", target, key=free, headers=fields, peer=peer).status == 200


def test_verify_judges_the_address_of_the_question(front: Front) -> None:
    """P16 breaks: a resource server's own address is used instead of the address in its request."""
    house = front.house
    limited = house.key(house.account(), allowed_ips=ALLOWED).secret.reveal()
    role = ("resource-server",)
    asks = house.key(house.account("API", roles=role), allowed_ips=("198.51.100.1",)).secret.reveal()

    def code(peer: str, **question: str) -> object:
        body = {"credential": limited, **question}
        fields = [(FOR, INSIDE)]
        answer = front.ask("POST", "/v1/verify", body, key=asks, peer=peer, headers=fields)
        return answer.json()["code"] if answer.status == 200 else answer.status

    asking = "198.51.100.1"
    assert code(asking, ip=INSIDE) == "valid"
    assert code(asking, ip=f"::ffff:{INSIDE}") == "valid"
    assert code(asking, ip=OUTSIDE) == "ip_not_allowed"
    assert code(asking) == "ip_not_allowed"
    assert code(INSIDE, ip=INSIDE) == 403
