"""A minimal browser with a cookie jar and forms. It runs no scripts, because the pages need none."""

import re
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from typing import Any
from urllib.parse import urlencode

from ostiary.core.permission import Caller
from ostiary.services.passwords import hash_password
from ostiary.storage import people
from tests.cast import Answer, Front, House

OWN = "http://localhost:8080"
PASSWORD = "a quiet street in autumn"
OTHER = "an umbrella full of rain"


@cache
def hashed(password: str) -> str:
    return hash_password(password)


def give_password(house: House, who: Caller, password: str = PASSWORD) -> None:
    """Set a password for a member of the cast."""
    house.store.write_on((), people.set_password, str(who.actor.id), hashed(password))


@dataclass(slots=True)
class Browser:
    front: Front
    peer: str = "192.0.2.1"
    jar: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"origin": OWN, "sec-fetch-site": "same-origin"})

    @property
    def session(self) -> str:
        return self.jar.get("ostiary_session", "")

    def request(self, method: str, target: str, form: Any = None) -> Coroutine[Any, Any, Answer]:
        fields = {"cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        raw = None
        if method == "POST":
            fields |= self.headers | {"content-type": "application/x-www-form-urlencoded"}
            raw = urlencode(form or {}, doseq=True).encode()
        return self.front.request(method, target, headers=fields, peer=self.peer, raw=raw)

    def take(self, answer: Answer) -> Answer:
        """Keep the cookies of a response. (The front returns only the last Set-Cookie of each response.)"""
        name, _, value = answer.headers.get("set-cookie", "").partition("=")
        value = value.partition(";")[0]
        if name:
            self.jar.pop(name, None)
            if value:
                self.jar[name] = value
        return answer

    def get(self, target: str) -> Answer:
        return self.take(self.front.ask_at_once([self.request("GET", target)])[0])

    def post(self, target: str, form: Any = None) -> Answer:
        return self.take(self.front.ask_at_once([self.request("POST", target, form)])[0])

    def token(self, target: str) -> str:
        """Return the form token of a page."""
        return form_token(self.get(target))

    def sign_in(self, email: str, password: str = PASSWORD, onward: str = "") -> Answer:
        form = {"form_token": self.token("/sign-in"), "email": email, "password": password, "next": onward}
        return self.post("/sign-in", form)

    def submit(self, page: str, target: str, **form: str) -> Answer:
        """Send a form of a page."""
        return self.post(target, {"form_token": self.token(page), **form})


def form_token(answer: Answer) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', answer.body.decode())
    return found[1] if found else ""


def text_of(answer: Answer) -> str:
    return unescape(answer.body.decode())
