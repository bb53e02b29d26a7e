"""The pages for people, from facts to bytes: a frozen dataclass in, a whole answer out.

Nothing is looked up or decided here. The names of the fields in the forms are the contract with whoever reads them:

| page | posts to | fields |
|---|---|---|
| `sign_in` | `/sign-in` | `email`, `password`, `next` |
| `consent` | `/oauth/authorize` | `request`, `organization`, `reach` (`all`, `some`), `project` (repeated), `decision` |
| `device_code` | `/oauth/device/verify` | `user_code` |
| `device_confirm` | `/oauth/device/verify` | `user_code`, `organization`, `decision` |
| `account` | `/account/…`, `/sign-out` | `session`; `grant`; `current`, `new` |
| `invitation` | `/invitations/accept` | `invitation`, `new` |
| `reset` | `/password/reset` | `reset`, `new` |

Every form also posts `form_token`; `decision` is `allow` or `deny`; "Not you? Sign out" posts `next` to `/sign-out`.
Projects of organizations that were not chosen may be posted too, and those with `reach=all`: they do not count.
An `error` is one sentence, shown at the top of the form and read aloud; a `notice` is the same of good news.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response

from ostiary.console.rendering import show
from ostiary.console.words import destination
from ostiary.core.instant import Instant
from ostiary.core.model import OAuthClient

FEW = 6
"""Up to so many organizations stand as a list of which only the chosen one's projects show; more are a menu."""


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project that can be chosen."""

    id: str
    name: str
    code: str


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """An organization that can be chosen, and of its projects those that can."""

    id: str
    name: str
    projects: tuple[ProjectView, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """An OAuth client as it is shown. Who registered it: an organization, the document at a host, or, where
    neither is known, it did so itself. `unverified` puts a warning beside it."""

    name: str
    client_id: str
    organization: str | None = None
    document_host: str | None = None
    unverified: bool = False


def application_of(client: OAuthClient, owner: str | None) -> ApplicationView:
    """A client as it is shown; `owner` is the name of the organization that it is of, if it is one's own."""
    unverified = client.source in ("registration", "document")
    host = urlsplit(client.id).hostname if client.source == "document" else None
    return ApplicationView(
        client.name, client.id, "Ostiary itself" if client.source == "built_in" else owner, host, unverified
    )


@dataclass(frozen=True, slots=True)
class SignInView:
    """The sign-in page. `next` is where to go afterwards, checked by whoever made it. `confirm` is a sentence that
    says why somebody who is signed in is asked again; then the email stays as it is."""

    form_token: str
    next: str
    email: str = ""
    confirm: str | None = None
    error: str | None = None
    notice: str | None = None


def sign_in(page: SignInView, status: int = 200) -> Response:
    """200 at first, 401 after a wrong password, 429 after too many."""
    return show("sign-in.html", page, status)


@dataclass(frozen=True, slots=True)
class MessageView:
    """A page that only says something. `code` is an error code, shown small; `developer` is for the developer of an
    application, under a heading of its own; `link` is a label and an address of ours, never one from a request."""

    title: str
    sentences: tuple[str, ...]
    link: tuple[str, str] | None = None
    code: str | None = None
    developer: str | None = None
    good: bool = False


def message(page: MessageView, status: int = 200) -> Response:
    """Signed out, done, not valid any more."""
    return show("message.html", page, status)


def wrong_request(code: str, developer: str) -> Response:
    """400: a request to /oauth/authorize that must not be answered by a redirect (RFC 6749 §4.1.2.1)."""
    sentences = (
        "The application that sent you here asked for access in a way that cannot be answered safely.",
        "Nothing was allowed. You can close this page.",
    )
    return message(
        MessageView("The application sent a wrong request", sentences, code=code, developer=developer), 400
    )


@dataclass(frozen=True, slots=True)
class ConsentView:
    """What an application asks of a person. `request` is the hidden reference to what was asked, `lifetime` such as
    "30 days"; `chosen` the projects and `organization` the organization to tick again after an error (`everywhere`
    is all projects).

    With `on_behalf`, the name of the integrator's organization, the access is for a service account there:
    `organizations` are then those where the person is an admin, and projects must be chosen.
    """

    form_token: str
    request: str
    application: ApplicationView
    redirect_uri: str
    scopes: tuple[str, ...]
    lifetime: str
    email: str
    organizations: tuple[OrganizationView, ...]
    organization: str | None = None
    everywhere: bool = True
    chosen: tuple[str, ...] = ()
    on_behalf: str | None = None
    sign_out_next: str = "/account"
    error: str | None = None


def consent(page: ConsentView, status: int = 200) -> Response:
    """The policy of this page names the redirect's origin. ValueError for a redirect URI that has none to show."""
    to = destination(page.redirect_uri)
    return show("consent.html", page, status, to.source, to=to, few=FEW)


@dataclass(frozen=True, slots=True)
class DeviceCodeView:
    """Where the code from a device is entered; `user_code` is what stands there already."""

    form_token: str
    user_code: str = ""
    error: str | None = None


def device_code(page: DeviceCodeView, status: int = 200) -> Response:
    """429 after too many guesses."""
    return show("device-code.html", page, status)


@dataclass(frozen=True, slots=True)
class DeviceConfirmView:
    """What a device asks: `user_code` as shown on it (WDJB-MJHT), and from where and when it asked."""

    form_token: str
    user_code: str
    application: ApplicationView
    scopes: tuple[str, ...]
    lifetime: str
    email: str
    organizations: tuple[OrganizationView, ...]
    address: str
    asked: Instant
    user_agent: str
    organization: str | None = None
    sign_out_next: str = "/oauth/device/verify"
    error: str | None = None


def device_confirm(page: DeviceConfirmView, status: int = 200) -> Response:
    return show("device-confirm.html", page, status, few=FEW)


def device_done(allowed: bool) -> Response:
    """The last step, after either decision."""
    if allowed:
        said = ("You can close this page and go back to your device.",)
        return message(MessageView("Your device is connected", said, good=True))
    return message(
        MessageView("Nothing was allowed", ("The device gets no access.", "You can close this page."))
    )


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session in the list. `kind` is as in the table; `client` the application's name, if it is one's."""

    id: str
    kind: str
    client: str | None
    user_agent: str
    address: str
    created: Instant
    last_used: Instant | None
    expires: Instant
    here: bool = False


@dataclass(frozen=True, slots=True)
class GrantView:
    """A connected application. No project stands for all of them; `on_behalf` is the integrator's organization."""

    id: str
    application: str
    organization: str
    scopes: tuple[str, ...]
    projects: tuple[str, ...]
    since: Instant
    on_behalf: str | None = None


@dataclass(frozen=True, slots=True)
class MembershipView:
    """An organization that the person is a member of, with the names of their roles there."""

    organization: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnAccountView:
    """A person's own page. `password_error` stands in that form, `error` and `notice` above everything.
    `shortest` is how many characters a password has at least."""

    form_token: str
    email: str
    memberships: tuple[MembershipView, ...]
    sessions: tuple[SessionView, ...]
    grants: tuple[GrantView, ...]
    shortest: int
    error: str | None = None
    notice: str | None = None
    password_error: str | None = None


KINDS = {"browser": "Browser", "key_file": "Key file", "device": "Device", "application": "Application"}


def account(page: OwnAccountView, status: int = 200) -> Response:
    return show("account.html", page, status, kinds=KINDS)


@dataclass(frozen=True, slots=True)
class InvitationView:
    """An invitation to accept, by a new password, and by the present one where there is an account."""

    form_token: str
    invitation: str
    organization: str
    email: str
    roles: tuple[str, ...]
    shortest: int
    error: str | None = None


def invitation(page: InvitationView, status: int = 200) -> Response:
    return show("invitation.html", page, status)


@dataclass(frozen=True, slots=True)
class ResetView:
    """A new password in place of a forgotten one."""

    form_token: str
    reset: str
    email: str
    shortest: int
    error: str | None = None


def reset(page: ResetView, status: int = 200) -> Response:
    return show("reset.html", page, status)
