"""All tables. Times are microseconds since 1970 (`core.instant`); lists of names are JSON text."""

import json
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Instant = sa.BigInteger
# In SQLite only INTEGER keys are row ids.
Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


# Ids, codes and rule names sort by their bytes in both engines, independent of the database's collation.
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


class Names(sa.TypeDecorator[tuple[str, ...]]):
    """A tuple of strings as JSON text: the same bytes in both engines. It is always read as a whole."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        return json.dumps(list(value or ()))

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> tuple[str, ...]:
        return () if value is None or value == "[]" else tuple(json.loads(value))


class Document(sa.TypeDecorator[dict[str, Any]]):
    """A JSON object as text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dict[str, Any] | None:
        return None if value is None else dict(json.loads(value))


def own_id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, Key, primary_key=True)


def own_organization() -> sa.Column[str]:
    return sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False)


def maker() -> list[sa.Column[str]]:
    """The maker of a link or code: principal, its organization, and the credential or session that it presented.

    All are null for a local command. There are no foreign keys: the row may outlive its maker, and is then refused.
    """
    return [sa.Column(name, Key) for name in ("made_by", "made_in", "made_with")]


installation = sa.Table(
    "installation",
    metadata,
    own_id("name"),
    sa.Column("value", sa.Text, nullable=False),
    comment="Facts that never change once written: channel_host, key_prefix:<prefix>, pepper:<id>",
)

heartbeat = sa.Table(
    "heartbeat",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seen_at", Instant, nullable=False),
    comment="One row: when the service last ran with a trusted clock.",
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    own_id("scope"),
    sa.Column("created_at", Instant, nullable=False),
)

organizations = sa.Table(
    "organizations",
    metadata,
    own_id(),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("operator", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("suspended_at", Instant),
)

projects = sa.Table(
    "projects",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
    # A deleted project keeps its row, so that its code is not reused.
    sa.UniqueConstraint("organization_id", "code"),
)

users = sa.Table(
    "users",
    metadata,
    own_id(),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), primary_key=True),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
)

service_accounts = sa.Table(
    "service_accounts",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("contact_email", sa.Text),
    sa.Column("access_level", sa.Text, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("resources", Names, nullable=False),
    # Ids. A deleted project stays in the list, because an empty list means no restriction.
    sa.Column("projects", Names, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
    sa.Column("deleted_at", Instant),
    sa.Column("made_in_console", sa.Boolean, nullable=False, server_default=sa.false()),
    # The consent of another organization that it was created for. It has access there through this consent.
    sa.Column("grant_id", Key),
    # A deleted account keeps its row, so that its username is not reused.
    sa.UniqueConstraint("organization_id", "username"),
)

role_bindings = sa.Table(
    "role_bindings",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("principal_id", Key, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index(None, "principal_id", "organization_id"),
)

roles = sa.Table(
    "roles",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("organization_id", "name"),
    comment="An organization's custom roles. Built-in roles are code, not rows.",
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), primary_key=True),
    sa.Column("document", Document, nullable=False),
    sa.Column("ceilings", Document, nullable=False),
    comment="Where an organization's limits differ from the installation's: its choices, and the operator's ceilings.",
)

invitations = sa.Table(
    "invitations",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("roles", Document, nullable=False),
    sa.Column("access_id", Key, nullable=False, unique=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("pepper_id", Key, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("accepted_at", Instant),
    *maker(),
    sa.Index(None, "organization_id", "id"),
    sa.Index(None, "made_by"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("caller_id", Key, primary_key=True),
    sa.Column("idempotency_key", Key, primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    # The caller's scopes at that time. With fewer scopes it does not get the response again.
    sa.Column("scopes", Names, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", Document, nullable=False),
    sa.Column("created_at", Instant, nullable=False, index=True),
    comment="First responses to requests with an Idempotency-Key, kept for a day, without their secrets.",
)

credentials = sa.Table(
    "credentials",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("owner_kind", sa.Text, nullable=False),
    sa.Column("owner_id", Key, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("access_level", sa.Text, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("resources", Names, nullable=False),
    sa.Column("allowed_ips", Names, nullable=False),
    sa.Column("project_id", Key, sa.ForeignKey("projects.id")),
    sa.Column("expires_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("deactivated_at", Instant),
    sa.Column("revoked_at", Instant),
    # When it was revoked after its owner had created a replacement: a manual rotation.
    sa.Column("replaced_at", Instant),
    # Uses per minute. NULL: the policy's limit.
    sa.Column("rate_limit", sa.Integer),
    sa.Column("compat", sa.Text),
    sa.Index(None, "organization_id", "id"),
    sa.Index(None, "owner_id"),
)

generations = sa.Table(
    "generations",
    metadata,
    own_id("access_id"),
    sa.Column("credential_id", Key, sa.ForeignKey("credentials.id", ondelete="CASCADE"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("last6", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("pepper_id", Key, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # When a rotation replaced it; until when it is accepted (NULL: until it is ended); when it was ended.
    sa.Column("superseded_at", Instant),
    sa.Column("ends_at", Instant),
    sa.Column("ended_at", Instant),
    # For a key file: SubjectPublicKeyInfo, DER. `digest` is then the key's, so that no two credentials share a key.
    sa.Column("public_key", sa.LargeBinary),
    sa.UniqueConstraint("credential_id", "number"),
    sa.Index(
        "uq_generations_current",
        "credential_id",
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    ),
    comment="The secrets of a credential, as digests. Exactly one of them is current (not superseded).",
)

generation_uses = sa.Table(
    "generation_uses",
    metadata,
    own_id("access_id"),
    sa.Column("credential_id", Key, nullable=False, index=True),
    sa.Column("last_used_at", Instant, nullable=False),
    sa.Column("uses", sa.BigInteger, nullable=False),
    comment="Written in batches. No foreign key: a use may arrive after its credential was deleted.",
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("organization_id", Key, primary_key=True),
    sa.Column("subject_id", Key, primary_key=True),
    sa.Column("hour", Instant, primary_key=True, index=True),
    sa.Column("outcome", Key, primary_key=True),
    sa.Column("via", Key, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    comment="Written in batches. No foreign key. The subject is the organization, an account or a credential: "
    "a use counts once under each. The outcome is accepted, or the reason of the refusal.",
)

import_prefixes = sa.Table(
    "import_prefixes",
    metadata,
    own_id("prefix"),
    sa.Column("created_at", Instant, nullable=False),
    comment="Prefixes of other systems' keys. Only strings with such a prefix are looked up by digest.",
)

access_rules = sa.Table(
    "access_rules",
    metadata,
    own_id("name"),
    sa.Column("rule", Document, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    own_id("kid"),
    # What it signs: access_token, assertion, m2m. One key, one purpose, one algorithm.
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    # AES-GCM under the key `sealing_id`, which is derived from a master key and not in the database.
    sa.Column("private_key", sa.LargeBinary, nullable=False),
    sa.Column("sealing_id", Key, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # Published before it signs, and accepted until the last token that it signed has expired.
    sa.Column("signs_from", Instant, nullable=False),
    sa.Column("believed_until", Instant),
    sa.Column("revoked_at", Instant),
)

used_assertions = sa.Table(
    "used_assertions",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    comment="Used signed assertions. Each is accepted once, and its row is deleted after it has expired.",
)

revoked_tokens = sa.Table(
    "revoked_tokens",
    metadata,
    own_id(),
    own_organization(),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    sa.Column("revoked_at", Instant, nullable=False),
    comment="Individually revoked access tokens, by jti, until they would have expired.",
)

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("time", Instant, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor_type", sa.Text, nullable=False),
    sa.Column("actor_id", Key),
    sa.Column("actor_display", sa.Text, nullable=False),
    sa.Column("actor_credential_id", Key),
    sa.Column("actor_credential_kind", sa.Text),
    sa.Column("actor_token_id", Key),
    sa.Column("target_type", sa.Text),
    sa.Column("target_id", Key),
    sa.Column("target_display", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("address", sa.Text),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("request_id", Key, nullable=False),
    sa.Column("details", Document, nullable=False),
    sa.Index(None, "organization_id", "seq"),
    sqlite_autoincrement=True,
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
    comment="Changes to facts that verdicts read and caches may hold. The kind is credential, organization, "
    "installation, import, token, session or client.",
    sqlite_autoincrement=True,
)
