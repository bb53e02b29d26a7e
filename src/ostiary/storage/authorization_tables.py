"""The tables of what has a lifetime: clients, consents, sessions, codes. All others are in `tables`."""

import sqlalchemy as sa

from ostiary.storage.tables import Document, Instant, Key, Names, maker, own_id, own_organization
from ostiary.storage.tables import metadata as metadata

clients = sa.Table(
    "clients",
    metadata,
    # What it calls itself in requests: `app_…`, or the address of its metadata document.
    own_id(),
    # Where it comes from: organization, registration (RFC 7591), document.
    sa.Column("source", sa.Text, nullable=False),
    # Of an organization's own: whose it is, and where accounts appear that it gets access by.
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), index=True),
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    # What it asks for: `user` acts for whoever consents, `organization` gets a service account of its own.
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("redirect_uris", Names, nullable=False),
    sa.Column("grant_types", Names, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("auth_method", sa.Text, nullable=False),
    sa.Column("jwks", Document),
    sa.Column("jwks_uri", sa.Text),
    sa.Column("client_uri", sa.Text),
    # Of one that registered itself: the network that asked (`core.address.network_of`).
    sa.Column("network", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
    sa.Column("deleted_at", Instant),
)

grants = sa.Table(
    "grants",
    metadata,
    own_id(),
    # Whose resources it opens, and which of its members consented.
    own_organization(),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False, index=True),
    # No foreign key: the clients of this program itself have no row.
    sa.Column("client_id", Key, nullable=False, index=True),
    # Where access was given to another organization: the account that has it, and whose that is.
    sa.Column("service_account_id", Key, sa.ForeignKey("service_accounts.id")),
    sa.Column("client_organization_id", Key, sa.ForeignKey("organizations.id"), index=True),
    sa.Column("scopes", Names, nullable=False),
    # Ids of the only projects that it opens; empty: all, where a person acts through a client.
    sa.Column("projects", Names, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Index(None, "organization_id", "id"),
    comment="Consents: what somebody lets a client do.",
)

sessions = sa.Table(
    "sessions",
    metadata,
    own_id(),
    own_organization(),
    # browser, key_file, device, application.
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("owner_kind", sa.Text, nullable=False),
    sa.Column("owner_id", Key, nullable=False),
    # What it was bought with, of a key file: it dies with that. No foreign key, for the session is listed after it.
    sa.Column("credential_id", Key, index=True),
    # By which consent and for which client, of a device's or an application's: it dies with them.
    sa.Column("grant_id", Key, sa.ForeignKey("grants.id"), index=True),
    sa.Column("client_id", Key, index=True),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("projects", Names, nullable=False),
    # Resources that its tokens are meant for (RFC 8707); empty: none was named.
    sa.Column("audiences", Names, nullable=False),
    # The default target, if one was named.
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    # What proves it, of a browser's or a key file's.
    sa.Column("access_id", Key, unique=True),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("pepper_id", Key, nullable=False),
    # Of a device's or an application's: its refresh tokens are `core.refresh`'s of this seed, the one of this number
    # is good; the one before it for some seconds more. Number 0: none was given.
    sa.Column("family", Key, unique=True),
    sa.Column("seed", sa.LargeBinary),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("refreshed_at", Instant),
    # When its code was redeemed; before that nothing stands for it.
    sa.Column("begun_at", Instant),
    # Who consented, of a device's or an application's, and in which session: judged again when the code is redeemed.
    sa.Column("made_by", Key),
    sa.Column("made_with", Key),
    # Of a browser's: when its person last gave the password.
    sa.Column("authenticated_at", Instant),
    sa.Column("address", sa.Text),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    sa.Column("revoked_at", Instant),
    sa.Index(None, "organization_id", "id"),
    sa.Index(None, "owner_id"),
    sa.Index(None, "begun_at", "created_at"),
)

authorization_codes = sa.Table(
    "authorization_codes",
    metadata,
    own_id("access_id"),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pepper_id", Key, nullable=False),
    sa.Column("session_id", Key, nullable=False),
    sa.Column("client_id", Key, nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    # Whether the request named it: then the token request has to, too.
    sa.Column("redirect_named", sa.Boolean, nullable=False),
    sa.Column("challenge", sa.Text, nullable=False),
    sa.Column("audiences", Names, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    sa.Column("used_at", Instant),
)

device_codes = sa.Table(
    "device_codes",
    metadata,
    own_id("access_id"),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pepper_id", Key, nullable=False),
    # Of what a person types.
    sa.Column("user_digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("client_id", Key, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("audiences", Names, nullable=False),
    # Seconds between two questions, and when the last one came.
    sa.Column("interval", sa.Integer, nullable=False),
    sa.Column("polled_at", Instant),
    sa.Column("address", sa.Text),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    # The one person who may decide: whoever entered it first.
    sa.Column("claimed_by", Key),
    sa.Column("session_id", Key),
    sa.Column("denied_at", Instant),
    sa.Column("used_at", Instant),
)

password_resets = sa.Table(
    "password_resets",
    metadata,
    own_id("access_id"),
    # Where it was made: there its maker must still be allowed to make it.
    own_organization(),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pepper_id", Key, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    sa.Column("used_at", Instant),
    *maker(),
    sa.Index(None, "made_by"),
)
