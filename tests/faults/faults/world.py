"""The two tenants that a run works with: teams, people, ways to reach them, agreements with short
targets, rules and integrations, all made through the public API."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .rest import Rest
from .system import SECOND_TENANT, System, wait_until

RESPONSE_SECONDS, RESOLUTION_SECONDS = 3, 7
# Which events are told, and by what.
RULED_EVENTS = {"incident.opened": ("mail", "webhook"), "sla.clock_breached": ("webhook",)}


@dataclass
class TenantWorld:
    """What was made in one tenant."""

    slug: str
    id: str
    administrator_key: str
    administrator_id: str
    manager_key: str
    team_id: str
    service_id: str
    service_name: str
    agreement_id: str
    integration: str
    """The slug of the integration, for NATS."""
    intake_key: str
    methods: dict[str, str] = field(default_factory=dict)
    """Contact methods by what they are: mail, webhook."""
    rules: dict[str, str] = field(default_factory=dict)
    """Rules by the event they are for."""

    @property
    def mail_address(self) -> str:
        """Where this tenant's mails go."""
        return f"ann@{self.slug}.example"

    @property
    def hook(self) -> str:
        """The name of this tenant's webhook receiver."""
        return f"pager-{self.slug}"


@dataclass
class World:
    """All tenants."""

    tenants: dict[str, TenantWorld]
    told: bool = True


def hooks() -> list[str]:
    """The webhook receivers that must listen before the services start."""
    return ["pager-default", f"pager-{SECOND_TENANT}"]


def build(system: System, sinks: Any, response_seconds: int = RESPONSE_SECONDS, resolution_seconds: int = RESOLUTION_SECONDS,
          told: bool = True) -> World:
    """Makes both, and waits until every part knows them. Nobody is told of anything unless `told`."""
    targets = (response_seconds, resolution_seconds)
    world = World({slug: _tenant(system, sinks, slug, targets, told) for slug in ("default", SECOND_TENANT)}, told)
    for tenant in world.tenants.values():
        _until_known(system, tenant)
    return world


def _tenant(system: System, sinks: Any, slug: str, seconds: tuple[int, int], told: bool) -> TenantWorld:
    response_seconds, resolution_seconds = seconds
    key = system.key(slug)
    rest = Rest(system.gateway_port, key)
    me = rest.must("GET", "/v1/me")
    team = rest.must("POST", "/v1/teams", {"name": f"ops-{slug}", "displayName": "Ops"})["id"]
    people = {}
    for name, role in (("ann", "RESPONDER"), ("bob", "MANAGER")):
        person = {"kind": "HUMAN", "displayName": name, "email": f"{name}@{slug}.example", "timeZone": "Europe/Berlin"}
        people[name] = rest.must("POST", "/v1/people", person)["id"]
        rest.must("POST", "/v1/memberships", {"teamId": team, "personId": people[name], "role": role})
    manager_key = rest.must("POST", "/v1/apiKeys", {"personId": people["bob"], "displayName": "bob"})["key"]
    service_name = f"shop-{slug}"
    service = rest.must("POST", "/v1/services", {
        "name": service_name, "displayName": "Shop", "kind": "BUSINESS", "impact": "EXTENSIVE", "owningTeamId": team,
        "supportTeamId": team})["id"]
    rest.must("POST", f"/v1/services/{service}:activate", {})
    targets = [{"priority": f"P{number}", "responseSeconds": str(response_seconds), "resolutionSeconds": str(resolution_seconds)}
               for number in (1, 2, 3, 4)]
    for schema in ("sla", "incident"):
        wait_until(f"{schema} knows the service", lambda: system.sql(
            f"select 1 from {schema}.catalog_services where id = %s", [service]))
    agreement = rest.must("POST", "/v1/agreements", {"displayName": "fast", "kind": "SLA", "serviceId": service, "targets": targets})["id"]
    rest.must("POST", f"/v1/agreements/{agreement}:activate", {})
    wait_until("notification knows the people", lambda: system.sql(
        "select count(*) = 2 from notification.directory_memberships where team_id = %s and active", [team])[0][0])
    made = TenantWorld(slug, _tenant_id(system, slug), key, me.get("personId") or me.get("id") or me.get("person", {}).get("id", ""), manager_key, team,
                       service, service_name, agreement, "", "")
    mail = rest.must("POST", "/v1/contactMethods", {
        "personId": people["ann"], "method": "MAIL", "displayName": "mail", "address": made.mail_address})
    hook = rest.must("POST", "/v1/contactMethods", {
        "personId": people["bob"], "method": "WEBHOOK", "displayName": "pager", "address": sinks.webhook_url(made.hook)})
    sinks.secret(made.hook, hook["signingSecret"])
    made.methods = {"mail": mail["contactMethod"]["id"], "webhook": hook["contactMethod"]["id"]}
    if not told:
        # A fresh installation has a rule of its own.
        for rule in rest.must("GET", "/v1/notificationRules").get("notificationRules", []):
            rest.must("POST", f"/v1/notificationRules/{rule['id']}:disable", {})
    for event, ways in RULED_EVENTS.items() if told else ():
        rule = {"displayName": event, "eventType": event, "recipients": {"assignedTeam": True}, "methods": [way.upper() for way in ways]}
        made.rules[event] = rest.must("POST", "/v1/notificationRules", rule)["id"]
    if slug == "default":
        made.integration, made.intake_key = "demo", (system.data / "demo.key").read_text().strip()
    else:
        answer = rest.must("POST", "/v1/integrations", {"name": "mon", "displayName": "Mon", "openIncidentFrom": "MEDIUM"})
        made.integration, made.intake_key = "mon", answer["key"]
    rest.close()
    return made


def _tenant_id(system: System, slug: str) -> str:
    return str(system.sql("select id from directory.tenants where slug = %s", [slug])[0][0])


def _until_known(system: System, tenant: TenantWorld) -> None:
    """An alert that is only kept is taken, and belongs to the service."""
    rest = Rest(system.gateway_port)
    deadline = time.monotonic() + 30
    for count in range(10_000):
        key = f"probe/{tenant.slug}/{count}"
        alert = {"title": key, "dedup_key": key, "severity": "info", "labels": {"service": tenant.service_name}}
        answer = rest.request("POST", f"/intake/{tenant.intake_key}/alerts", alert)
        if answer.ok:
            found = wait_until("the probe is stored", lambda: system.sql(
                "select service_id from alert.alerts where dedup_key = %s", [key]), 15)
            if found[0][0] is not None:
                rest.close()
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the alert service does not know {tenant.service_name}: {answer.status} {answer.text[:300]}")
        time.sleep(0.1)
