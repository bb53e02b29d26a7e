"""The facts that rules work on. All are frozen; times are `Instant`s; a state is the time when it began, not a flag."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ostiary.core.address import Network
from ostiary.core.event import OriginKind
from ostiary.core.instant import Instant
from ostiary.core.permission import Scopes

CredentialKind = Literal["api_key", "client_secret", "key_file"]
TokenKind = Literal["access_token", "session"]
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
"""Names of the kinds of presented credentials, for use in sentences."""
SUFFIXES: dict[OriginKind, str] = {
    "api_key": "API key",
    "client_secret": "API key",
    "key_file": "key file",
    "session": "session",
}
"""The suffix that the audit log adds to an actor's name: the kind of credential that the actor used."""


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
    """A custom role of an organization, or a built-in role, whose `id` is None."""

    id: str | None
    name: str
    description: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A user as a member of an organization."""

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
    """None if a local command on the data directory created it."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Who created an invitation, reset link or code. It is refused once its maker may no longer create it."""

    principal_id: str
    organization_id: str
    """The maker's own organization. An operator admin can create these in other organizations, too."""
    origin_id: str | None
    """The id of the presented credential, or of the person's session."""


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A role on the organization (`project_id` is None) or on one of its projects."""

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
    """Ids of the projects that it is restricted to. Empty: no restriction, organization-level access included."""
    created_at: Instant
    disabled_at: Instant | None
    grant_id: str | None = None
    """The consent of another organization that it was created for. It has access there through this consent."""

    @property
    def client_id(self) -> str:
        return client_id_of(self.id)


def client_id_of(account_id: str) -> str:
    """Return the OAuth client id of a service account: `sa_01k…` → `ostiary-sa-01k…`."""
    return f"ostiary-sa-{account_id.removeprefix('sa_')}"


def account_id_of(client_id: str) -> str | None:
    """Return the service account's id for a client id: `ostiary-sa-01k…` → `sa_01k…`. None for any other text."""
    prefix, _, rest = client_id.rpartition("-")
    return f"sa_{rest}" if prefix == "ostiary-sa" else None


def channel_identifier(username: str, slug: str, host: str) -> str:
    """Return `<username>@<organization slug>.<host>`, a service account's public name, which key files contain."""
    return f"{username}@{slug}.{host}"


def may_be_channel_identifier(email: str, host: str) -> bool:
    """Return whether an email is below the host, so that it could equal a channel identifier, now or later."""
    return email.rpartition("@")[2].endswith(f".{host.lower()}")


def actor_display(name: str, kind: OriginKind) -> str:
    """Return the display name of an actor in the audit log: `ci-bot (API key)`."""
    return f"{name} ({SUFFIXES[kind]})"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as lists show it: everything except its digest."""

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
    """Uses per minute. None: the limit in the organization's policy applies."""
    access_id: str
    prefix: str
    last6: str
    secret_created_at: Instant
    generation: int = 1
    last_used_at: Instant | None = None
    overlap: "Overlap | None" = None
    replaced_at: Instant | None = None
    compat: str | None = None
    """For a key file: whose signing conventions are accepted besides the documented ones (`google`)."""

    def status(self, now: Instant) -> CredentialStatus:
        return credential_status(self.revoked_at, self.expires_at, self.deactivated_at, now)


@dataclass(frozen=True, slots=True)
class CredentialFilter:
    """The filters of a list of credentials. A credential must match all of them."""

    kind: CredentialKind | None = None
    status: CredentialStatus | None = None
    search: str | None = None
    """Part of the credential's or the owner's name in any case, an id, or the last six characters of the secret."""
    expires_before: Instant | None = None
    unused_since: Instant | None = None
    """Matches credentials that were created before this time and not used since."""


EVERY_CREDENTIAL = CredentialFilter()


@dataclass(frozen=True, slots=True)
class Overlap:
    """The old secret during a rotation. It is accepted until `ends_at`; None means until the rotation is completed."""

    last6: str
    ends_at: Instant | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One secret of a credential and its usage. `superseded_at` of the current secret is None."""

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
        """Return whether no rotation has ended the secret."""
        return _not_over(self.ends_at, self.ended_at, now)


def credential_label(name: str, last6: str) -> str:
    """Return a credential's name for sentences: `ci (…a1B2c3)`, or `ci (imported)` if its last characters are unknown."""
    return f"{name} (…{last6})" if last6 else f"{name} (imported)"


def shown(prefix: str, access_id: str, last6: str) -> str:
    """Return how lists show a key after its creation: `ak-<access id>…<last 6>`, or an imported one's prefix."""
    return f"{prefix}{access_id}…{last6}" if last6 else f"{prefix}…"


def credential_status(
    revoked_at: Instant | None, expires_at: Instant | None, deactivated_at: Instant | None, now: Instant
) -> CredentialStatus:
    """Return the status that takes precedence when several apply: permanent ones come first."""
    if revoked_at is not None:
        return "revoked"
    if expires_at is not None and expires_at <= now:
        return "expired"
    if deactivated_at is not None:
        return "deactivated"
    return "active"


def _not_over(ends_at: Instant | None, ended_at: Instant | None, now: Instant) -> bool:
    # An explicit end (`ended_at`) does not depend on the clock. A planned end (`ends_at`) does.
    return ended_at is None and (ends_at is None or ends_at > now)


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """An OAuth client: a program that asks people for access (RFC 6749 §2). Service accounts are separate."""

    id: str
    """The `client_id`: `app_…`, the URL of the client's metadata document, or the name of a built-in client."""
    source: ClientSource
    organization_id: str | None
    """The owning organization of a client with source `organization`, else None."""
    project_id: str | None
    access: ClientAccess
    """`user`: it acts for the user who consents. `organization`: it gets a service account of its own organization."""
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    """The scopes that it may request. Empty: any."""
    auth_method: AuthMethod
    jwks: dict[str, Any] | None
    """Its public keys (RFC 7517), if it authenticates with signed assertions."""
    jwks_uri: str | None
    client_uri: str | None
    created_at: Instant
    disabled_at: Instant | None


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user allowed a client to do: a row of the table `grants`."""

    id: str
    organization_id: str
    """The organization whose resources the client may use."""
    user_id: str
    """The user who consented. The client acts for this user, unless there is a service account."""
    client_id: str
    service_account_id: str | None
    """The account of another organization that received the access."""
    client_organization_id: str | None
    scopes: tuple[str, ...]
    projects: tuple[str, ...]
    """Ids of the projects that the client is restricted to. Empty: all."""
    created_at: Instant
    updated_at: Instant
    revoked_at: Instant | None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token or a session. It ends when its origin ends, and may never do more than its origin."""

    kind: TokenKind
    id: str
    """`jti` of an access token, or the id of a session."""
    origin_id: str
    """The id of a credential (`cred_…`), or of the session of a person, device or application (`ses_…`)."""
    scopes: Scopes
    """The granted scopes. `api` stands for everything that the origin may do."""
    audiences: tuple[str, ...]
    """The intended recipients. The issuer means this service and resource servers without an audience of their own."""
    client_id: str
    issued_at: Instant
    expires_at: Instant
    exchanged_from: str | None = None
    """The id of the token that this one was exchanged for. Revoking that one revokes this one."""
    project_id: str | None = None
    """For a session: the default project of requests that name none."""
    issuer: str = ""
    """`iss` of an access token: the URL of this service, or its alias."""
    revoked: bool = False
    """Whether this token, or the one it was exchanged for, was revoked. Revocation is permanent."""


def is_session(origin_id: str) -> bool:
    """Return whether a token's origin is a session rather than a credential."""
    return origin_id.startswith("ses_")


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a credential, with the facts that a verdict reads."""

    kind: OwnerKind
    id: str
    display: str
    """A user's email, or a service account's freely chosen display name."""
    identifier: str
    """Unique in the installation: a user's email, or a service account's channel identifier."""
    barred: bool
    """Whether it is disabled or deleted, or (a user) no longer a member of the organization."""
    access_level: AccessLevel = "full"
    scopes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleScopes:
    """The scopes of one role binding. `project_id` None: they apply to the whole organization."""

    scopes: Scopes
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Every fact that a verdict on one secret of a credential, or on a session, reads. Only facts are cached."""

    credential_id: str
    """The id of the credential, or of the session."""
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
    """Uses per minute: the lower of the policy's limit and the credential's own. None: unlimited."""
    principal: Principal
    grants: tuple[RoleScopes, ...]
    organization: Organization
    public_key: bytes | None = None
    """For a key file: the public key (SubjectPublicKeyInfo, DER). The private key is never stored."""
    compat: str | None = None
    generation: int = 1
    client_id: str | None = None
    """For a session of a client: the client's id."""
    foreign: tuple[str, ...] = ()
    """Ids of projects of another organization that consented. Organization-wide scopes do not apply there."""
    operator_admin: bool = False
    """Whether the owner holds the role operator-admin, even if this credential is restricted."""
    # What `core.verdict.scopes_on` worked out from the facts above, for the organization and for its projects. Most
    # standings are asked about one of both at most, so there is no dict (232 bytes) before it is needed.
    on_organization: Scopes | None = field(default=None, init=False, compare=False, repr=False)
    on_projects: dict[str, Scopes] | None = field(default=None, init=False, compare=False, repr=False)
    checks: tuple[Any, ...] | None = field(default=None, init=False, compare=False, repr=False)
    """Those of `core.verdict.CHECKS` that can refuse it."""

    @property
    def origin(self) -> Literal["credential", "session"]:
        """Return what the standing belongs to, as the audit log names it."""
        return "session" if self.kind == "session" else "credential"

    @property
    def label(self) -> str:
        """Return the name for use in sentences."""
        return self.name if self.kind == "session" else credential_label(self.name, self.last6)

    def may_act(self, now: Instant) -> bool:
        """Return whether the credential is active, its owner not barred, and its organization not suspended."""
        return (
            self.status(now) == "active"
            and not self.principal.barred
            and self.organization.suspended_at is None
        )

    def status(self, now: Instant) -> CredentialStatus:
        """Return the status for the holder of this secret. A secret that a rotation has ended counts as revoked."""
        # Fast path for the usual case on every request. The code below gives the same result, and the reason.
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
        """Return whether another secret replaced this one: by rotation, or by a newer key before this one was revoked."""
        return self.superseded_at is not None or self.replaced_at is not None

    @property
    def lasts_until(self) -> Instant | None:
        """Return the planned end of this secret: its credential's expiry, or the end of a rotation's overlap if
        earlier."""
        return min((each for each in (self.expires_at, self.ends_at) if each is not None), default=None)
