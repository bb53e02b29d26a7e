"""The console's pages: one frozen dataclass and one function for each, which renders it as a response.

This module reads no data and makes no decisions. The handlers depend on the names of the form fields:

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
A form may also post projects of organizations that were not chosen, or projects with `reach=all`; handlers ignore
them. An `error` is one sentence, shown at the top of the form and announced by screen readers. A `notice` is the same
for a success.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response

from ostiary.console.rendering import show
from ostiary.console.words import destination
from ostiary.core.instant import Instant
from ostiary.core.model import OAuthClient

FEW = 6
"""Up to this many organizations are radio buttons, and only the chosen one's projects show. More are a menu."""


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project that can be chosen."""

    id: str
    name: str
    code: str


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """An organization that can be chosen, with the projects that can be chosen."""

    id: str
    name: str
    projects: tuple[ProjectView, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """An OAuth client. It was registered by `organization`, by the document at `document_host`, or, if both are None,
    by itself. `unverified` shows a warning."""

    name: str
    client_id: str
    organization: str | None = None
    document_host: str | None = None
    unverified: bool = False


def application_of(client: OAuthClient, owner: str | None) -> ApplicationView:
    """Return the view of a client. `owner` is the name of its organization, if it has one."""
    unverified = client.source in ("registration", "document")
    host = urlsplit(client.id).hostname if client.source == "document" else None
    return ApplicationView(
        client.name, client.id, "Ostiary itself" if client.source == "built_in" else owner, host, unverified
    )


@dataclass(frozen=True, slots=True)
class SignInView:
    """The sign-in page. `next` is the URL to open afterwards; the caller has checked it. `confirm` is a sentence that
    says why a signed-in person must enter the password again; the email is then read-only."""

    form_token: str
    next: str
    email: str = ""
    confirm: str | None = None
    error: str | None = None
    notice: str | None = None


def sign_in(page: SignInView, status: int = 200) -> Response:
    """Status 200 at first, 401 after a wrong password, 429 after too many."""
    return show("sign-in.html", page, status)


@dataclass(frozen=True, slots=True)
class MessageView:
    """A page that only shows a message. `code` is an error code, in small print. `developer` is text for the developer
    of an application, under its own heading. `link` is a label and a local URL, never one from a request."""

    title: str
    sentences: tuple[str, ...]
    link: tuple[str, str] | None = None
    code: str | None = None
    developer: str | None = None
    good: bool = False


def message(page: MessageView, status: int = 200) -> Response:
    """Show a message, for example that a link is no longer valid."""
    return show("message.html", page, status)


def wrong_request(code: str, developer: str) -> Response:
    """Status 400: a request to /oauth/authorize whose error must not be sent by a redirect (RFC 6749 §4.1.2.1)."""
    sentences = (
        "The application that sent you here asked for access in a way that is not safe.",
        "Nothing was allowed. You can close this page.",
    )
    return message(
        MessageView("The application sent an invalid request", sentences, code=code, developer=developer), 400
    )


@dataclass(frozen=True, slots=True)
class ConsentView:
    """The consent page. `request` is the query of the authorization request, in a hidden field. `lifetime` is a text
    such as "30 days". After an error, `organization` and `chosen` (projects) are selected again; `everywhere` selects
    all projects.

    `on_behalf` is the name of the integrator's organization: the access is for a service account there. In that case
    `organizations` holds those where the person is an admin, and the person must choose projects.
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
    """Allow the redirect's origin in the page's policy. Raise ValueError if the redirect URI cannot be shown."""
    to = destination(page.redirect_uri)
    return show("consent.html", page, status, to.source, to=to, few=FEW)


@dataclass(frozen=True, slots=True)
class DeviceCodeView:
    """The form for the code that a device shows. `user_code` fills it in."""

    form_token: str
    user_code: str = ""
    error: str | None = None


def device_code(page: DeviceCodeView, status: int = 200) -> Response:
    """Status 422 after a code that is not valid."""
    return show("device-code.html", page, status)


@dataclass(frozen=True, slots=True)
class DeviceConfirmView:
    """The consent page for a device: its `user_code` as the device shows it (WDJB-MJHT), and the origin and time of its
    request."""

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
    """Show the result of the decision."""
    if allowed:
        said = ("You can close this page and go back to your device.",)
        return message(MessageView("Your device is connected", said, good=True))
    return message(
        MessageView("Nothing was allowed", ("The device gets no access.", "You can close this page."))
    )


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session in the list. `kind` is as in the database. `client` is the application's name, if one has the session."""

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
    """A connected application. Empty `projects` means all projects. `on_behalf` is the integrator's organization."""

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
    """The account page. `password_error` is shown in the password form, `error` and `notice` at the top of the page.
    `shortest` is the minimum length of a password."""

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
    """The form to accept an invitation, with a new password and, if the person has an account, the current one."""

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
    """The form for a new password after a reset link."""

    form_token: str
    reset: str
    email: str
    shortest: int
    error: str | None = None


def reset(page: ResetView, status: int = 200) -> Response:
    return show("reset.html", page, status)
