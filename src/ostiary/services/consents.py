"""Consents: what a person allows a client to do, for themselves or for their organization; and the withdrawal.

A client never gets more than the person holds at the moment of use. If the client asks for its own organization, a
service account is created in that organization. The account has the consented scopes on the chosen projects, nothing
else, and is deleted with the consent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ostiary.core import check, limits
from ostiary.core.event import Target
from ostiary.core.model import Consent, OAuthClient, Organization, Project, ServiceAccount, SessionKind
from ostiary.core.oauth import OFFLINE_ACCESS
from ostiary.core.permission import Caller, require
from ostiary.core.problem import Problem, not_found
from ostiary.core.refresh import FAMILY_BYTES, SEED_BYTES
from ostiary.services import audit, organizations, roles
from ostiary.services.audit import change
from ostiary.storage import clients as client_rows
from ostiary.storage import consents as rows
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory, sessions, standing_queries
from ostiary.storage import members as member_rows
from ostiary.storage import roles as role_rows
from ostiary.storage.sessions import Family, Session
from ostiary.storage.store import Tx

MOST_SESSIONS = 100
"""Most live sessions of one consent. A new one ends the oldest: some clients ask again each time they run."""


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What a person is asked to allow a client."""

    client: OAuthClient
    organization_id: str
    """The organization whose resources the client gets access to. The person must be a member of it."""
    scopes: tuple[str, ...]
    projects: tuple[str, ...] = ()
    """Project ids; empty means all projects. Access for another organization always names projects."""
    audiences: tuple[str, ...] = ()
    """The only resources (RFC 8707) that tokens are for; empty if the request named none."""
    kind: SessionKind = "application"
    address: str | None = None
    """The device's IP address, if the client runs on another device than the browser."""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class StoredConsent:
    """A stored consent, and the session that begins when the code is redeemed."""

    consent: Consent
    session_id: str


@dataclass(frozen=True, slots=True)
class ConsentListing:
    """A consent with the names that lists show."""

    consent: Consent
    client_name: str
    client_organization: Organization | None
    """The organization that got access, if the consent is for another organization."""
    user_email: str


@dataclass(frozen=True, slots=True)
class AccessOnBehalf:
    """The consent that a service account was created for, and the organization that gave it."""

    consent: Consent
    giver: Organization
    projects: tuple[Project, ...]
    """The consented projects that still exist. They belong to the giver."""
    project_id: str | None
    """The client's own project, if it has one."""


def organizations_for(tx: Tx, user_id: str, client: OAuthClient) -> list[Organization]:
    """Return the organizations for which a person may consent to this client, sorted by name.

    If the client acts for people: the organizations in which the person is a member. If it asks for its own
    organization: other organizations in which the person is an admin. Suspended organizations are left out.
    """
    found = [each for each in member_rows.organizations_of(tx, user_id) if each.suspended_at is None]
    if client.access == "organization":
        found = [
            each
            for each in found
            if each.id != client.organization_id and user_id in member_rows.admins(tx, each.id)
        ]
    return sorted(found, key=lambda each: (each.name.lower(), each.id))


def give(tx: Tx, caller: Caller, asked: ConsentRequest) -> StoredConsent:
    """Store the caller's consent, and a session that begins when its code is redeemed.

    The caller may be signed in to any organization: only their membership in `asked.organization_id` counts. The write
    must serialize on that organization and on the client's. Raises not-found, wrong-state or limit-reached.
    """
    if asked.client.source == "document":
        client_rows.put_document(tx, asked.client)
    client, user_id = client_rows.find(tx, asked.client.id), caller.actor.id
    if client is None or client.disabled_at is not None:
        raise not_found("client", "client gone or disabled")
    if user_id is None or asked.organization_id not in {
        each.id for each in organizations_for(tx, user_id, client)
    }:
        raise not_found("organization", "not theirs to consent for")
    projects = set(directory.project_names(tx, asked.organization_id).values())
    if not projects >= set(asked.projects):
        raise not_found("project")
    if client.scopes and not set(asked.scopes) - {OFFLINE_ACCESS} <= set(client.scopes):
        raise Problem(
            "wrong-state",
            "The client is not registered for all of these scopes.",
            reason="beyond the client's scopes",
        )
    caller = replace(caller, organization_id=asked.organization_id)
    lifetime = organizations.policy_of(tx, asked.organization_id).session_lifetime
    if client.access == "organization":
        consent = _for_organization(tx, caller, client, asked)
        owner_kind, owner_id, home = (
            "service_account",
            str(consent.service_account_id),
            client.organization_id,
        )
    else:
        consent = _for_user(tx, caller, client, asked, user_id)
        owner_kind, owner_id, home = "user", user_id, asked.organization_id
    session = Session(
        id=tx.new_id("ses"),
        organization_id=str(home),
        kind=asked.kind,
        owner_kind="service_account" if owner_kind == "service_account" else "user",
        owner_id=owner_id,
        credential_id=None,
        project_id=None,
        address=asked.address,
        user_agent=asked.user_agent,
        created_at=tx.now,
        expires_at=tx.now + lifetime,
        revoked_at=None,
        grant_id=consent.id,
        client_id=client.id,
        scopes=asked.scopes,
        projects=() if client.access == "organization" else asked.projects,
        audiences=asked.audiences,
        made_by=user_id,
        made_with=caller.actor.credential_id,
    )
    keyring = tx.installation.keyring
    family = Family(tx.entropy(FAMILY_BYTES).hex(), tx.entropy(SEED_BYTES), keyring.newest)
    for oldest in sessions.ids_except_newest(tx, MOST_SESSIONS - 1, grant_id=consent.id):
        sessions.revoke(tx, oldest)
        end_sessions(tx, [oldest])
    sessions.insert_with_family(tx, session, family)
    change(
        tx,
        caller,
        "consent.granted",
        _target(consent, client.name),
        client_id=client.id,
        scopes=list(asked.scopes),
        projects=list(asked.projects),
        service_account=consent.service_account_id,
        session=session.id,
    )
    return StoredConsent(consent, session.id)


def reason_to_refuse_code(tx: Tx, session: Session) -> str | None:
    """Return why the code of a session is refused, or None if the code is valid.

    A code is refused if the person's own session ended or if they may no longer consent. A session that has begun is
    judged by its consent instead.
    """
    if session.made_with is not None:
        catalogue = role_rows.catalogue_of(tx, session.organization_id)
        origin = standing_queries.find_origin(tx, session.made_with, catalogue)
        if origin is None or not origin.may_act(tx.now):
            return "session of the consent ended"
    consent = None if session.grant_id is None else rows.find(tx, session.grant_id)
    client = client_rows.find(tx, session.client_id or "")
    if consent is None or client is None or session.made_by is None:
        return "consent gone"
    if consent.organization_id not in {each.id for each in organizations_for(tx, session.made_by, client)}:
        return "giver may not consent any more"
    return None


def lock_and_check_code(tx: Tx, session: Session) -> bool:
    """Return whether the code of a session is valid. Locks the person's own session until the transaction ends."""
    if session.made_with is not None:
        sessions.hold(tx, session.made_with)
    return reason_to_refuse_code(tx, session) is None


def _for_user(tx: Tx, caller: Caller, client: OAuthClient, asked: ConsentRequest, user_id: str) -> Consent:
    before = rows.find_live(tx, asked.organization_id, client.id, user_id)
    if before is None:
        limits.check("consents", len(rows.of_user(tx, asked.organization_id, user_id)))
        return _insert(tx, caller, client, asked, user_id, None)
    # The client keeps what it was given before, so the new consent is the union of both.
    both = tuple(dict.fromkeys((*before.scopes, *asked.scopes)))
    projects = tuple(dict.fromkeys((*before.projects, *asked.projects)))
    if not before.projects or not asked.projects:
        projects = ()
    return _update(tx, before, both, projects)


def _for_organization(tx: Tx, caller: Caller, client: OAuthClient, asked: ConsentRequest) -> Consent:
    if not asked.projects:
        raise Problem("wrong-state", "Choose at least one project.", reason="no project chosen")
    opened = set(asked.scopes) - {OFFLINE_ACCESS}
    if not opened:
        raise Problem("wrong-state", "Choose at least one scope.", reason="no scope chosen")
    if not opened <= role_rows.scopes_of_catalogue(tx):
        raise Problem(
            "wrong-state", "An organization cannot give another access to this API.", reason="API scopes"
        )
    home = directory.find_organization(tx, str(client.organization_id))
    if home is None:
        raise not_found("client", "its organization is gone")
    before = rows.find_live(tx, asked.organization_id, client.id, None)
    if before is not None:
        tx.changed("organization", home.id)
        return _update(tx, before, asked.scopes, asked.projects)
    giver = directory.find_organization(tx, asked.organization_id)
    assert giver is not None
    taken = check.free_slug(
        check.slug_of(f"{client.name} {giver.slug}"),
        lambda slug: directory.username_exists(tx, home.id, slug),
    )
    limits.check("service_accounts", directory.count_service_accounts(tx, home.id))
    consent_id = tx.new_id("gra")
    account = ServiceAccount(
        id=tx.new_id("sa"),
        organization_id=home.id,
        display_name=f"{client.name} for {giver.name}"[: check.MAX_DISPLAY_NAME],
        username=taken,
        description=f"Has access to projects of {giver.name} ({giver.slug}), by its consent.",
        contact_email=None,
        access_level="full",
        scopes=(),
        resources=(),
        projects=(),
        created_at=tx.now,
        disabled_at=None,
        grant_id=consent_id,
    )
    directory.insert_service_account(tx, account, in_console=False)
    change(
        tx,
        replace(caller, organization_id=home.id),
        "service_account.created",
        Target("service_account", account.id, account.display_name),
        username=account.username,
        contact_email=account.contact_email,
        access_level=account.access_level,
        grant=consent_id,
        roles=[],
    )
    return _insert(tx, caller, client, asked, str(caller.actor.id), account, consent_id)


def _insert(
    tx: Tx,
    caller: Caller,
    client: OAuthClient,
    asked: ConsentRequest,
    user_id: str,
    account: ServiceAccount | None,
    consent_id: str | None = None,
) -> Consent:
    consent = Consent(
        id=consent_id or tx.new_id("gra"),
        organization_id=asked.organization_id,
        user_id=user_id,
        client_id=client.id,
        service_account_id=None if account is None else account.id,
        client_organization_id=None if account is None else account.organization_id,
        scopes=asked.scopes,
        projects=asked.projects,
        created_at=tx.now,
        updated_at=tx.now,
        revoked_at=None,
    )
    rows.insert(tx, consent)
    return consent


def _update(tx: Tx, before: Consent, scopes: tuple[str, ...], projects: tuple[str, ...]) -> Consent:
    rows.update(tx, before.id, {"scopes": scopes, "projects": projects, "updated_at": tx.now})
    return replace(before, scopes=scopes, projects=projects, updated_at=tx.now)


# Reading


def list_page(
    tx: Tx, caller: Caller, after: str | None, limit: int, own: bool = False
) -> list[ConsentListing]:
    """Return the live consents in the organization, newest first. Without `read:clients`: the caller's own."""
    if caller.granted is not None or caller.fine_grained or caller.actor.id is None:
        require(caller, "read:clients")  # a narrowed credential does not stand for its whole owner
    user_id = caller.actor.id if own or not caller.may("read:clients") else None
    return _listed(tx, rows.list_page(tx, caller.organization_id, user_id, after, limit))


def get(tx: Tx, caller: Caller, consent_id: str) -> ConsentListing:
    """Return one consent, even one that has ended. The caller's own needs no scope. Raises not-found."""
    return _listed(tx, [_find(tx, caller, consent_id)])[0]


def on_behalf(tx: Tx, caller: Caller, account: ServiceAccount) -> AccessOnBehalf | None:
    """Return the consent that created an account of the caller's organization; None for any other account."""
    consent = None if account.grant_id is None else rows.find(tx, account.grant_id)
    giver = None if consent is None else directory.find_organization(tx, consent.organization_id)
    if consent is None or giver is None or consent.client_organization_id != caller.organization_id:
        return None
    found = (directory.find_project(tx, giver.id, each) for each in consent.projects)
    client = client_rows.find(tx, consent.client_id)
    return AccessOnBehalf(
        consent, giver, tuple(each for each in found if each), None if client is None else client.project_id
    )


def project_of(tx: Tx, caller: Caller, account_id: str | None, name: str) -> Project | None:
    """Return the project with this id or code if an account's credentials and sessions may use it as their target.

    The project belongs to the caller's organization, or to another organization that consented to it for this account.
    A code in the caller's organization takes precedence. `account_id` is None for a user's credential.
    """
    own = directory.find_project(tx, caller.organization_id, name)
    if own is not None:
        return own
    account = None
    if account_id is not None:
        account = directory.find_service_account(tx, caller.organization_id, account_id)
    behalf = None if account is None else on_behalf(tx, caller, account)
    consented = () if behalf is None else behalf.projects
    return next((each for each in consented if name in (each.id, each.code)), None)


def withdraw(tx: Tx, caller: Caller, consent_id: str) -> None:
    """End a consent at once, with its sessions and its service account. Idempotent.

    A person needs no scope to withdraw a consent for themselves. A consent for an organization can be withdrawn by
    each of the two organizations, with `write:clients`. Raises not-found or insufficient-permissions.
    """
    found = _find(tx, caller, consent_id, writing=True)
    end(tx, caller, found, "withdrawn")


def end(tx: Tx, caller: Caller, consent: Consent, because: str) -> None:
    """End a consent, its sessions and the account created for it, without a permission check. Idempotent."""
    if not rows.revoke(tx, consent.id):
        tx.confirm()
        return
    end_sessions(tx, sessions.revoke_of_grant(tx, consent.id))
    name = client_rows.names(tx, [consent.client_id]).get(consent.client_id, consent.client_id)
    change(
        tx,
        replace(caller, organization_id=consent.organization_id),
        "consent.withdrawn",
        _target(consent, name),
        client_id=consent.client_id,
        because=because,
        service_account=consent.service_account_id,
    )
    if consent.service_account_id is not None:
        _delete_account(tx, caller, str(consent.client_organization_id), consent.service_account_id)


def end_with_account(tx: Tx, caller: Caller, account: ServiceAccount) -> None:
    """End the sessions of a deleted service account, and the consent that the account was created for."""
    end_sessions(tx, sessions.revoke_of_owner(tx, account.id))
    consent = None if account.grant_id is None else rows.find(tx, account.grant_id)
    if consent is not None:
        end(tx, caller, consent, "its service account was deleted")


def _delete_account(tx: Tx, caller: Caller, organization_id: str, account_id: str) -> None:
    account = directory.find_service_account(tx, organization_id, account_id)
    caller = replace(caller, organization_id=organization_id)
    tx.changed("organization", organization_id)
    if account is None:  # its own organization has deleted it already
        return
    revoked = credential_rows.revoke_all_of(tx, organization_id, account_id)
    audit.record_revocations(tx, caller, revoked, "the consent to its access was withdrawn")
    directory.update_service_account(tx, account_id, {"deleted_at": tx.now})
    role_rows.replace_role_bindings(tx, organization_id, account_id, [])
    target = Target("service_account", account_id, account.display_name)
    change(tx, caller, "service_account.deleted", target, revoked=len(revoked))


def end_sessions(tx: Tx, session_ids: Iterable[str]) -> None:
    """Announce to caches that sessions have ended. Records no event: the consent's or account's event covers them."""
    for session_id in session_ids:
        tx.changed("session", session_id)


def end_all_of_member(tx: Tx, caller: Caller, organization_id: str, user_id: str, because: str) -> None:
    """End all consents of a member in an organization, and the member's sessions there."""
    for consent in rows.of_user(tx, organization_id, user_id):
        end(tx, caller, consent, because)
    end_sessions(tx, sessions.revoke_of_owner(tx, user_id, organization_id))


def remove_project(tx: Tx, caller: Caller, organization_id: str, project_id: str) -> None:
    """Remove a deleted project from consents to other organizations. A consent without any project left ends."""
    for consent in rows.of_other_organizations(tx, organization_id):
        if project_id not in consent.projects:
            continue
        left = tuple(each for each in consent.projects if each != project_id)
        if left:
            rows.update(tx, consent.id, {"projects": left, "updated_at": tx.now})
            home = str(consent.client_organization_id)
            tx.changed("organization", home)
            bound = credential_rows.revoke_bound_to(tx, home, project_id)
            audit.record_revocations(
                tx, replace(caller, organization_id=home), bound, "its project was deleted"
            )
        else:
            end(tx, caller, consent, "its only project was deleted")


def _find(tx: Tx, caller: Caller, consent_id: str, *, writing: bool = False) -> Consent:
    found = rows.find(tx, consent_id)
    if found is not None and caller.organization_id not in (
        found.organization_id,
        found.client_organization_id,
    ):
        found = None
    own = (
        found is not None
        and caller.granted is None
        and not caller.fine_grained
        and found.user_id == caller.actor.id
        and found.organization_id == caller.organization_id
        and not (writing and found.service_account_id)
    )
    if not own:
        require(caller, "write:clients" if writing else "read:clients")
    if found is None:
        raise not_found("grant")
    if writing and not own and not found.service_account_id:
        roles.require_over_credentials(tx, caller, found.user_id)
    return found


def _listed(tx: Tx, found: Sequence[Consent]) -> list[ConsentListing]:
    names = client_rows.names(tx, sorted({each.client_id for each in found}))
    emails = member_rows.emails(tx, sorted({each.user_id for each in found}))
    homes = {
        each.client_organization_id: directory.find_organization(tx, each.client_organization_id)
        for each in found
        if each.client_organization_id is not None
    }
    return [
        ConsentListing(
            each,
            names.get(each.client_id, each.client_id),
            homes.get(each.client_organization_id or ""),
            emails.get(each.user_id, ""),
        )
        for each in found
    ]


def _target(consent: Consent, name: str) -> Target:
    return Target("consent", consent.id, name)
