"""The tables for clients, consents, sessions and codes. All other tables are in `tables`."""

import sqlalchemy as sa

from ostiary.storage.tables import Document, Instant, Key, Names, maker, own_id, own_organization
from ostiary.storage.tables import metadata as metadata

clients = sa.Table(
    "clients",
    metadata,
    # The client_id: `app_…`, or the URL of its metadata document.
    own_id(),
    # organization, registration (RFC 7591), or document.
    sa.Column("source", sa.Text, nullable=False),
    # For source `organization`: the owning organization, and the project in which its service accounts appear.
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), index=True),
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    # `user`: acts for the user who consents. `organization`: gets a service account of its own organization.
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("redirect_uris", Names, nullable=False),
    sa.Column("grant_types", Names, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("auth_method", sa.Text, nullable=False),
    sa.Column("jwks", Document),
    sa.Column("jwks_uri", sa.Text),
    sa.Column("client_uri", sa.Text),
    # For source `registration`: the network of the requester (`core.address.network_of`).
    sa.Column("network", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
    sa.Column("deleted_at", Instant),
)

grants = sa.Table(
    "grants",
    metadata,
    own_id(),
    # The organization whose resources are opened, and its member who consented.
    own_organization(),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False, index=True),
    # No foreign key: built-in clients have no row.
    sa.Column("client_id", Key, nullable=False, index=True),
    # For access of another organization: the service account with the access, and its organization.
    sa.Column("service_account_id", Key, sa.ForeignKey("service_accounts.id")),
    sa.Column("client_organization_id", Key, sa.ForeignKey("organizations.id"), index=True),
    sa.Column("scopes", Names, nullable=False),
    # Ids of the opened projects. Empty: all (only if the client acts for a user).
    sa.Column("projects", Names, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Index(None, "organization_id", "id"),
    comment="Consents: what users allow clients to do.",
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
    # For a key file's session: the credential, with which it ends. No foreign key: the row outlives the credential.
    sa.Column("credential_id", Key, index=True),
    # For a session of a device or application: the consent and the client, with which it ends.
    sa.Column("grant_id", Key, sa.ForeignKey("grants.id"), index=True),
    sa.Column("client_id", Key, index=True),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("projects", Names, nullable=False),
    # The audiences of its tokens (RFC 8707). Empty: the request named none.
    sa.Column("audiences", Names, nullable=False),
    # The default project, if one was named.
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    # The secret of a browser's or key file's session.
    sa.Column("access_id", Key, unique=True),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("pepper_id", Key, nullable=False),
    # For a session of a device or application: the seed of its refresh tokens (`core.refresh`), and the number of the
    # current one. The one before it is accepted for some seconds more. 0: none was issued.
    sa.Column("family", Key, unique=True),
    sa.Column("seed", sa.LargeBinary),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("refreshed_at", Instant),
    # When its code was redeemed. Before that the session has no tokens.
    sa.Column("begun_at", Instant),
    # For a session of a device or application: who consented, and in which session. Both are judged again when the
    # code is redeemed.
    sa.Column("made_by", Key),
    sa.Column("made_with", Key),
    # For a browser's session: when the person last confirmed the password.
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
    # Whether the authorization request named it. If so, the token request must name it, too.
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
    # The digest of the code that a person types.
    sa.Column("user_digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("client_id", Key, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("audiences", Names, nullable=False),
    # The seconds between two polls, and the time of the last poll.
    sa.Column("interval", sa.Integer, nullable=False),
    sa.Column("polled_at", Instant),
    sa.Column("address", sa.Text),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    # The only person who may decide: the one who entered the code first.
    sa.Column("claimed_by", Key),
    sa.Column("session_id", Key),
    sa.Column("denied_at", Instant),
    sa.Column("used_at", Instant),
)

password_resets = sa.Table(
    "password_resets",
    metadata,
    own_id("access_id"),
    # Where it was created. There its maker must still be allowed to create it.
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
