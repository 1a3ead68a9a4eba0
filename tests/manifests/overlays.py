"""All checks together, for an overlay and for what stands beside the overlays."""

import re

import edges
import pods
import render
import schema
import whole

FOLDER = "deploy/kubernetes"
# An overlay for the tests alone, of the components that no other takes: `dev` with them.
ALTERNATIVES = "alternatives"


def names(root):
    """The overlays."""
    return [*sorted(path.name for path in (root / FOLDER / "overlays").iterdir()), ALTERNATIVES]


def rendered(root, overlay):
    """The resources of an overlay."""
    folder = "tests/manifests" if overlay == ALTERNATIVES else f"{FOLDER}/overlays"
    return render.render(root / folder / overlay)


def services(root):
    """The services that own data, as the scripts list them."""
    return re.search(r'^services="([a-z ]+)"', (root / "tools/lib.sh").read_text(), re.M)[1].split()


def setting(root, key):
    """A number among the defaults of the settings."""
    return int(re.search(rf"^{key} = (\d+)$", (root / "deploy/config/itsm.toml").read_text(), re.M)[1])


def checks(root, overlay, definitions):
    """Each check by its name, as a function of the rendered resources."""
    schemas = schema.Schemas(definitions, root / "tests/manifests/custom.json")
    documentation = (root / "deploy/README.md").read_text()
    matrix = (root / FOLDER / "edges.txt").read_text()
    settings = (root / "deploy/config/kubernetes.toml").read_text()
    return {
        "schema": lambda found: (f"{render.name(one)}: {error}" for one in found for error in schemas.errors(one)),
        "restricted": pods.restricted,
        "bounded": pods.bounded,
        "images": pods.images,
        "probed": pods.probed,
        "drained": pods.drained,
        "spread": pods.spread,
        "companions": whole.companions,
        "connections": lambda found: whole.connections(found, setting(root, "role_connections")),
        "referenced": lambda found: whole.referenced(found, documentation),
        "least_known": whole.least_known,
        "steps": whole.steps,
        "addresses": lambda found: whole.addresses(found, settings),
        "denied": edges.denied,
        "edges": lambda found: edges.compared(found, matrix, "dev" if overlay == ALTERNATIVES else overlay),
    }


def errors(root, overlay, definitions):
    """What is wrong with an overlay, and what it is."""
    resources = rendered(root, overlay)
    found = [error for check in checks(root, overlay, definitions).values() for error in check(resources)]
    return found, resources


def beside(root):
    """What is wrong beside the overlays: the chart's values, and edges that the code does not have."""
    values = render.read(root / FOLDER / "overlays/production/nats-values.yaml")[0]
    yield from whole.three_nats(values)
    yield from edges.as_the_code(root, services(root), (root / FOLDER / "edges.txt").read_text())
