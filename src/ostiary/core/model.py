"""The facts that rules are about. Frozen; times are `Instant`s; a state is a time at which it began, never a flag."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ostiary.core.address import Network
from ostiary.core.instant import Instant
from ostiary.core.permission import Scopes

CredentialKind = Literal["api_key", "client_secret", "key_file"]
TokenKind = Literal["access_token", "session"]
OriginKind = CredentialKind | Literal["session"]
"""What a standing is of: a credential, or a session that stands for its owner."""
SessionKind = Literal["browser", "key_file", "device", "application"]
ClientSource = Literal["built_in", "organization", "registration", "document"]
ClientAccess = Literal["user", "organization"]
AuthMethod = Literal["none", "private_key_jwt"]
OwnerKind = Literal["service_account", "user"]
AccessLevel = Literal["full", "fine_grained"]
CredentialStatus = Literal["active", "deactivated", "expired", "revoked"]

KIND_NAMES = {
    "api_key": "API key",
    "client_secret": "client secret",
    "key_file": "key file",
    "access_token": "access token",
    "session": "session",
}
"""How the kind of what was presented reads in a sentence."""
SUFFIXES: dict[OriginKind, str] = {
    "api_key": "API key",
    "client_secret": "API key",
    "key_file": "key file",
    "session": "session",
}
"""How the audit log shows the credential, or the token of a credential, that an actor used."""


@dataclass(frozen=True, slots=True)
class Organization:
    id: str
    slug: str
    name: str
    operator: bool
    created_at: Instant
    suspended_at: Instant | None


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    organization_id: str
    code: str
    name: str
    description: str
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Role:
    """An organization's own role. `id` is None for a built-in one."""

    id: str | None
    name: str
    description: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organization."""

    id: str
    email: str
    joined_at: Instant
    disabled_at: Instant | None


@dataclass(frozen=True, slots=True)
class Invitation:
    id: str
    organization_id: str
    email: str
    roles: tuple["RoleBinding", ...]
    created_at: Instant
    expires_at: Instant
    accepted_at: Instant | None
    maker: "Maker | None" = None
    """None: a local command on the data directory."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The maker of an invitation, reset link or code, which is refused if its maker may not make it any more."""

    principal_id: str
    organization_id: str
    """The maker's own organization: an operator admin makes rows in other organizations as well."""
    origin_id: str | None
    """The presented credential, or the person's session."""


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A role on the organization (project_id None) or on one of its projects."""

    role: str
    project_id: str | None


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    id: str
    organization_id: str
    display_name: str
    username: str
    description: str
    contact_email: str | None
    access_level: AccessLevel
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    projects: tuple[str, ...]
    """Ids of the only projects that it may be used for; empty: of any, and for the organization."""
    created_at: Instant
    disabled_at: Instant | None
    grant_id: str | None = None
    """The consent of another organization that it was made for, and by which it has access there."""

    @property
    def client_id(self) -> str:
        return client_id_of(self.id)


def client_id_of(account_id: str) -> str:
    """`sa_01k…` → `ostiary-sa-01k…`."""
    return f"ostiary-sa-{account_id.removeprefix('sa_')}"


def account_id_of(client_id: str) -> str | None:
    """`ostiary-sa-01k…` → `sa_01k…`; None for any other text."""
    prefix, _, rest = client_id.rpartition("-")
    return f"sa_{rest}" if prefix == "ostiary-sa" else None


def channel_identifier(username: str, slug: str, host: str) -> str:
    """`<username>@<organization slug>.<host>`: how an account is named outside, and in its key files."""
    return f"{username}@{slug}.{host}"


def may_be_channel_identifier(email: str, host: str) -> bool:
    """Return whether an email could be a channel identifier, now or later: an address below the host."""
    return email.rpartition("@")[2].endswith(f".{host.lower()}")


def actor_display(name: str, kind: OriginKind) -> str:
    """Return the display of an actor in the audit log: `ci-bot (API key)`."""
    return f"{name} ({SUFFIXES[kind]})"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as lists show it: everything but its digest."""

    id: str
    organization_id: str
    kind: CredentialKind
    owner_kind: OwnerKind
    owner_id: str
    name: str
    description: str
    access_level: AccessLevel
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    allowed_ips: tuple[str, ...]
    project_id: str | None
    expires_at: Instant | None
    created_at: Instant
    deactivated_at: Instant | None
    revoked_at: Instant | None
    rate_limit: int | None
    """Uses a minute; None: what the organization's policy says."""
    access_id: str
    prefix: str
    last6: str
    secret_created_at: Instant
    generation: int = 1
    last_used_at: Instant | None = None
    overlap: "Overlap | None" = None
    replaced_at: Instant | None = None
    compat: str | None = None
    """Of a key file: whose clients' way of signing is accepted beside the documented one (`google`)."""

    def status(self, now: Instant) -> CredentialStatus:
        return credential_status(self.revoked_at, self.expires_at, self.deactivated_at, now)


@dataclass(frozen=True, slots=True)
class CredentialFilter:
    """The filters of a list of credentials. A credential must meet all of them."""

    kind: CredentialKind | None = None
    status: CredentialStatus | None = None
    search: str | None = None
    """A part of the name or of the owner's name in any case, an id, or the last six characters."""
    expires_before: Instant | None = None
    unused_since: Instant | None = None
    """Made before this time, and not used since."""


EVERY_CREDENTIAL = CredentialFilter()


@dataclass(frozen=True, slots=True)
class Overlap:
    """While a rotation is under way: the old secret, which is accepted until `ends_at` or, None, until completed."""

    last6: str
    ends_at: Instant | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One secret of a credential, and its use so far. The current one is not superseded."""

    access_id: str
    number: int
    prefix: str
    last6: str
    created_at: Instant
    superseded_at: Instant | None
    ends_at: Instant | None
    ended_at: Instant | None
    last_used_at: Instant | None
    uses: int

    def accepted(self, now: Instant) -> bool:
        """Whether no rotation has ended it."""
        return _not_over(self.ends_at, self.ended_at, now)


def label_of(name: str, last6: str) -> str:
    """How a credential reads in a sentence: its name and the end of its key, which an imported one does not have."""
    return f"{name} (…{last6})" if last6 else f"{name} (imported)"


def shown(prefix: str, access_id: str, last6: str) -> str:
    """How lists show a key once its secret is gone: `ak-<access id>…<last 6>`, an imported one by its prefix."""
    return f"{prefix}{access_id}…{last6}" if last6 else f"{prefix}…"


def credential_status(
    revoked_at: Instant | None, expires_at: Instant | None, deactivated_at: Instant | None, now: Instant
) -> CredentialStatus:
    """The one state that counts where several hold: what is final comes first."""
    if revoked_at is not None:
        return "revoked"
    if expires_at is not None and expires_at <= now:
        return "expired"
    if deactivated_at is not None:
        return "deactivated"
    return "active"


def _not_over(ends_at: Instant | None, ended_at: Instant | None, now: Instant) -> bool:
    # What somebody ended is over on every clock; what ends by itself ends on this one.
    return ended_at is None and (ends_at is None or ends_at > now)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that asks people for access (RFC 6749 §2). A service account is none in this sense."""

    id: str
    """What it calls itself in requests: `app_…`, the address of its metadata document, or a name that is built in."""
    source: ClientSource
    organization_id: str | None
    """Whose it is, of an organization's own."""
    project_id: str | None
    access: ClientAccess
    """`user`: it acts for whoever consents. `organization`: it gets a service account of its own organization."""
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    """What it may ask for; empty: anything."""
    auth_method: AuthMethod
    jwks: dict[str, Any] | None
    """Its public keys (RFC 7517), of one that signs assertions."""
    jwks_uri: str | None
    client_uri: str | None
    created_at: Instant
    disabled_at: Instant | None


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody lets a client do: a row of `grants`."""

    id: str
    organization_id: str
    """Whose resources it opens."""
    user_id: str
    """Who consented; and for whom the client acts, unless there is a service account."""
    client_id: str
    service_account_id: str | None
    """Of another organization, which has the access."""
    client_organization_id: str | None
    scopes: tuple[str, ...]
    projects: tuple[str, ...]
    """Ids of the only projects that it opens; empty: all."""
    created_at: Instant
    updated_at: Instant
    revoked_at: Instant | None


@dataclass(frozen=True, slots=True)
class Token:
    """What was traded for something and stands for it: an access token or a session.

    It dies with what it came from, its origin, and may do no more than that at the moment of use.
    """

    kind: TokenKind
    id: str
    """`jti` of an access token, id of a session."""
    origin_id: str
    """Id of the credential, or of the session of a person, a device or an application: `cred_…` or `ses_…`."""
    scopes: Scopes
    """Granted to it. With `api` all that its origin may do."""
    audiences: tuple[str, ...]
    """Whom it is meant for; the issuer stands for this service and whoever names no audience of their own."""
    client_id: str
    issued_at: Instant
    expires_at: Instant
    exchanged_from: str | None = None
    """What else ends it: the token that it was exchanged for."""
    project_id: str | None = None
    """Of a session: what is meant where no project is named."""
    issuer: str = ""
    """`iss` of an access token: this service, or its alias."""
    revoked: bool = False
    """Whether it was ended by itself, or what it was exchanged for was. It stays so."""


def is_session(origin_id: str) -> bool:
    """Whether what a token came from is a session, and not a credential."""
    return origin_id.startswith("ses_")


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a credential as a verdict sees it."""

    kind: OwnerKind
    id: str
    display: str
    """A user's email, or a service account's display name, which is chosen freely."""
    identifier: str
    """Unique in the installation: a user's email, a service account's channel identifier."""
    barred: bool
    """Disabled, deleted, or (a user) no longer a member of the organization."""
    access_level: AccessLevel = "full"
    scopes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Scopes that a role binding gives, and where: project_id None holds in the whole organization."""

    scopes: Scopes
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Every fact that a verdict on one secret of a credential, or on a session, reads. Cached; never a verdict itself."""

    credential_id: str
    """Of a session its own id."""
    kind: OriginKind
    name: str
    access_id: str
    last6: str
    digest: bytes
    pepper_id: str
    superseded_at: Instant | None
    ends_at: Instant | None
    ended_at: Instant | None
    replaced_at: Instant | None
    deactivated_at: Instant | None
    revoked_at: Instant | None
    expires_at: Instant | None
    networks: tuple[Network, ...]
    access_level: AccessLevel
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    project_id: str | None
    rate_limit: int | None
    """Uses a minute, by the policy and its own limit; None is no limit."""
    principal: Principal
    grants: tuple[Grant, ...]
    organization: Organization
    public_key: bytes | None = None
    """Of a key file: the public half (SubjectPublicKeyInfo, DER). The private one was never here."""
    compat: str | None = None
    generation: int = 1
    client_id: str | None = None
    """Of a session that a client has."""
    foreign: tuple[str, ...] = ()
    """Ids of projects of another organization, which consented. What it may do at home it may not do there."""
    operator_admin: bool = False
    """Whether its owner holds operator-admin, however little this credential may do."""
    # What `core.verdict.scopes_on` worked out from the facts above, for the organization and for its projects. Most
    # standings are asked about one of both at most, so there is no dict (232 bytes) before it is needed.
    on_organization: Scopes | None = field(default=None, init=False, compare=False, repr=False)
    on_projects: dict[str, Scopes] | None = field(default=None, init=False, compare=False, repr=False)
    checks: tuple[Any, ...] | None = field(default=None, init=False, compare=False, repr=False)
    """Those of `core.verdict.CHECKS` that can refuse it."""

    @property
    def origin(self) -> Literal["credential", "session"]:
        """What it is of, in the words of the audit log."""
        return "session" if self.kind == "session" else "credential"

    @property
    def label(self) -> str:
        """How it reads in a sentence."""
        return self.name if self.kind == "session" else label_of(self.name, self.last6)

    def may_act(self, now: Instant) -> bool:
        """Whether the credential, its owner and its organization are in a state to act at all."""
        return (
            self.status(now) == "active"
            and not self.principal.barred
            and self.organization.suspended_at is None
        )

    def status(self, now: Instant) -> CredentialStatus:
        """The credential's, for whoever holds this secret: one that a rotation has ended is a revoked one."""
        # The usual case in one look, on every request; what follows says the same, and why not.
        if (
            self.revoked_at is None
            and self.deactivated_at is None
            and self.ended_at is None
            and (self.expires_at is None or self.expires_at > now)
            and (self.ends_at is None or self.ends_at > now)
        ):
            return "active"
        if not _not_over(self.ends_at, self.ended_at, now):
            return "revoked"
        return credential_status(self.revoked_at, self.expires_at, self.deactivated_at, now)

    @property
    def rotated(self) -> bool:
        """Whether another secret took this one's place: by rotation, or by a second key before its revocation."""
        return self.superseded_at is not None or self.replaced_at is not None

    @property
    def lasts_until(self) -> Instant | None:
        """When this secret ends by itself: with its credential, or with the overlap of a rotation."""
        return min((each for each in (self.expires_at, self.ends_at) if each is not None), default=None)
