"""Who may talk to whom: the network policies as edges, both ways denied otherwise, equal to the committed matrix
deploy/kubernetes/edges.txt, and the matrix equal to what the code calls."""

import re

from render import component, labels, name, of_kind, pods, selects

GRPC = 9100
NAMESPACES = {
    "itsm/edge=true": "edge",
    "itsm/monitoring=true": "monitoring",
    "itsm/publisher=true": "publishers",
    "kubernetes.io/metadata.name=kube-system": "dns",
    "kubernetes.io/metadata.name=cnpg-system": "cnpg-operator",
}
# What must not be reached by way of the world.
INSIDE = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
INSIDE_6 = {"::1/128", "fc00::/7", "fe80::/10"}


def endpoints(resources, stores):
    """The labels of each kind of pod, and of the stores that others make the pods of."""
    found = {component(pod): labels(pod) for _, pod in pods(resources)}
    for store in stores:
        found.setdefault(store, {"itsm/store": store})
    return found


def denied(resources):
    """One policy takes every pod, and allows nothing either way."""
    for policy in of_kind(resources, "NetworkPolicy"):
        spec = policy["spec"]
        if spec["podSelector"] == {} and set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}:
            if not spec.get("ingress") and not spec.get("egress"):
                return
    yield "no NetworkPolicy denies everything to every pod, both ways"


def peers(peer, ends):
    """The names of whom a rule's peer means."""
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        closed = INSIDE_6 if ":" in block["cidr"] else INSIDE
        return ["world" if closed <= set(block.get("except", [])) else "anywhere"]
    if "namespaceSelector" in peer:
        pairs = peer["namespaceSelector"].get("matchLabels") or {}
        known = [NAMESPACES.get(f"{key}={value}") for key, value in pairs.items()]
        if len(known) != 1 or not known[0]:
            raise ValueError(f"nobody knows the namespaces {peer['namespaceSelector']}")
        return known
    return [end for end, found in ends.items() if selects(peer["podSelector"], found)]


def edges(resources, stores=("postgres", "nats")):
    """The edges that policies allow as (from, to, port), and what is wrong with them."""
    ends, errors = endpoints(resources, stores), []
    sides = {"ingress": set(), "egress": set()}
    for policy in of_kind(resources, "NetworkPolicy"):
        spec = policy["spec"]
        taken = [end for end, found in ends.items() if selects(spec["podSelector"], found)]
        if not taken:
            errors.append(f"{name(policy)}: takes no pod")
        for side, word in (("ingress", "from"), ("egress", "to")):
            if spec.get(side) and side.capitalize() not in spec["policyTypes"]:
                errors.append(f"{name(policy)}: {side} is not among its types")
            for rule in spec.get(side) or []:
                if not rule.get(word) or not rule.get("ports"):
                    errors.append(f"{name(policy)}: a rule of {side} without peers or ports allows everything")
                    continue
                for other in sorted({end for peer in rule[word] for end in peers(peer, ends)}):
                    for port in rule["ports"]:
                        for end in taken:
                            pair = (other, end) if side == "ingress" else (end, other)
                            sides[side].add((*pair, port["port"]))
    for edge in sorted(sides["egress"] - sides["ingress"], key=str):
        if edge[1] in ends:
            errors.append(f"{edge[0]} may call {edge[1]}:{edge[2]}, which does not let it in")
    for edge in sorted(sides["ingress"] - sides["egress"], key=str):
        if edge[0] in ends:
            errors.append(f"{edge[1]}:{edge[2]} lets {edge[0]} in, which may not call it")
    return sides["ingress"] | sides["egress"], errors


def matrix(text, overlay, everyone):
    """The edges of the committed matrix for an overlay; `*` is each pod of ours."""
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != 4:
            raise ValueError(f"edges.txt, line {number}: from, to, port, where, and # why")
        if "#" not in line or not line.split("#")[1].strip():
            raise ValueError(f"edges.txt, line {number}: it does not say why")
        source, target, ports, where = fields
        if where not in ("all", overlay):
            continue
        for start in everyone if source == "*" else source.split(","):
            for end in everyone if target == "*" else target.split(","):
                found |= {(start, end, int(port)) for port in ports.split(",")}
    return found


def compared(resources, text, overlay):
    """Where policies and matrix differ."""
    allowed, errors = edges(resources)
    yield from errors
    ours = [component(pod) for _, pod in pods(resources) if labels(pod).get("app.kubernetes.io/name") == "itsm"]
    wanted = matrix(text, overlay, ours)
    for edge in sorted(allowed - wanted, key=str):
        yield f"{edge[0]} to {edge[1]}:{edge[2]} is allowed, and not in edges.txt"
    for edge in sorted(wanted - allowed, key=str):
        yield f"{edge[0]} to {edge[1]}:{edge[2]} is in edges.txt, and no policy allows it"


def calls(root, services):
    """Whom each service's code calls by gRPC: what it follows, looks up, or asks by name."""
    asked = re.compile(r"\b(follow|lookup|snapshot|position|settled_position|feed|call)\(\s*\"([a-z]+)\"")
    found, followed = set(), set()
    for service in [*services, "gateway"]:
        for path in sorted((root / "services" / service / "src").rglob("*.rs")):
            for way, callee in asked.findall(path.read_text()):
                if callee in services and callee != service:
                    found.add((service, callee))
                    if way == "follow":
                        followed.add((service, callee))
    return found | {("gateway", service) for service in services}, followed


def as_the_code(root, services, text):
    """Where matrix, code and the table of docs/architecture.md differ."""
    called, followed = calls(root, services)
    listed = {(start, end) for start, end, port in matrix(text, "", [*services, "gateway"]) if port == GRPC}
    for start, end in sorted(called - listed):
        yield f"{start} calls {end} in the code, and not in edges.txt"
    for start, end in sorted(listed - called):
        yield f"{start} calls {end} in edges.txt, and not in the code"
    table = set()
    for line in (root / "docs/architecture.md").read_text().splitlines():
        row = re.match(r"\| `([a-z]+)` \|[^|]*\| ([^|]*) \|", line)
        if row and row[1] in services:
            table |= {(row[1], word.strip()) for word in row[2].split(",") if word.strip() in services}
    for start, end in sorted(table ^ followed):
        yield f"that {start} follows {end} stands in only one of docs/architecture.md and the code"
