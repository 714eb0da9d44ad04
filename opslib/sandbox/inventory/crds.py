"""Custom resource definitions and the custom resources of the platform (PLATFORM.md 1.9, 5).

The schemas are the part of the upstream ones that readers of this platform use; the rest is preserved.
"""

from __future__ import annotations

import datetime as dt

from opslib.sandbox.inventory.build import Manifest, obj, stamp
from opslib.sandbox.inventory.names import HOST, NAMESPACE, TLS_SECRET

OPEN: Manifest = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _crd(
    group: str,
    version: str,
    kind: str,
    plural: str,
    created: dt.datetime,
    *,
    columns: tuple[tuple[str, str], ...] = (),
    short: tuple[str, ...] = (),
    scope: str = "Namespaced",
    schema: Manifest | None = None,
    status: bool = True,
) -> Manifest:
    printed = [{"name": name, "type": "string", "jsonPath": path} for name, path in columns]
    printed.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    top = schema or {"spec": OPEN, "status": OPEN}
    served: Manifest = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    **top,
                },
            }
        },
        "additionalPrinterColumns": printed,
    }
    if status:
        served["subresources"] = {"status": {}}
    names: Manifest = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
    }
    if short:
        names["shortNames"] = list(short)
    accepted = {
        "conditions": [
            _accepted("NamesAccepted", "NoConflicts", "no conflicts found", created),
            _accepted("Established", "InitialNamesAccepted", "the initial names have been accepted", created),
        ],
        "acceptedNames": names,
        "storedVersions": [version],
    }
    return obj(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{plural}.{group}",
        namespace=None,
        created=created,
        spec={
            "group": group,
            "names": names,
            "scope": scope,
            "versions": [served],
            "conversion": {"strategy": "None"},
        },
        status=accepted,
    )


def _accepted(kind: str, reason: str, message: str, when: dt.datetime) -> Manifest:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(when),
    }


def definitions(now: dt.datetime) -> list[Manifest]:
    born = now - dt.timedelta(hours=2980)
    ready = ("Ready", '.status.conditions[?(@.type=="Ready")].status')
    argo = "argoproj.io"
    certs, istio, prom = "cert-manager.io", "networking.istio.io", "monitoring.coreos.com"
    # as in upstream, an Application has no status subresource and keeps its operation at the top level
    application = {"spec": OPEN, "status": OPEN, "operation": OPEN}
    return [
        _crd(
            argo,
            "v1alpha1",
            "Application",
            "applications",
            born,
            columns=(("Sync Status", ".status.sync.status"), ("Health Status", ".status.health.status")),
            short=("app", "apps"),
            schema=application,
            status=False,
        ),
        _crd(
            argo, "v1alpha1", "AppProject", "appprojects", born, short=("appproj", "appprojs"), status=False
        ),
        _crd(
            certs,
            "v1",
            "Certificate",
            "certificates",
            born,
            columns=(ready, ("Secret", ".spec.secretName")),
            short=("cert", "certs"),
        ),
        _crd(
            certs,
            "v1",
            "CertificateRequest",
            "certificaterequests",
            born,
            columns=(ready,),
            short=("cr", "crs"),
        ),
        _crd(certs, "v1", "ClusterIssuer", "clusterissuers", born, columns=(ready,), scope="Cluster"),
        _crd(certs, "v1", "Issuer", "issuers", born, columns=(ready,)),
        _crd(
            istio,
            "v1beta1",
            "DestinationRule",
            "destinationrules",
            born,
            columns=(("Host", ".spec.host"),),
            short=("dr",),
        ),
        _crd(
            istio,
            "v1beta1",
            "VirtualService",
            "virtualservices",
            born,
            columns=(("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")),
            short=("vs",),
        ),
        _crd(istio, "v1beta1", "Gateway", "gateways", born, short=("gw",)),
        _crd(prom, "v1", "ServiceMonitor", "servicemonitors", born, short=("smon",), status=False),
        _crd(prom, "v1", "PrometheusRule", "prometheusrules", born, short=("promrule",), status=False),
    ]


def _condition(born: dt.datetime, reason: str, message: str) -> Manifest:
    return {
        "type": "Ready",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(born),
    }


def certificates(now: dt.datetime) -> list[Manifest]:
    """Three ClusterIssuers and the two Certificates; api-pss-nano-tls serves the Secret api-gateway-tls."""
    born, issued = now - dt.timedelta(hours=2700), now - dt.timedelta(hours=480)
    registered = _condition(
        born, "ACMEAccountRegistered", "The ACME account was registered with the ACME server"
    )
    found = []
    for name, server in (("letsencrypt-prod", "acme-v02"), ("letsencrypt-staging", "acme-staging-v02")):
        acme = {
            "server": f"https://{server}.api.letsencrypt.org/directory",
            "email": "ops@pss-nano.com",
            "privateKeySecretRef": {"name": name},
            "solvers": [
                {"http01": {"ingress": {"class": "nginx"}}},
                {
                    "dns01": {"cloudDNS": {"project": "pss-nano-project"}},
                    "selector": {"dnsZones": ["pss-nano.com"]},
                },
            ],
        }
        found.append(
            obj(
                "cert-manager.io/v1",
                "ClusterIssuer",
                name,
                namespace=None,
                created=born,
                spec={"acme": acme},
                status={"conditions": [registered]},
            )
        )
    found.append(
        obj(
            "cert-manager.io/v1",
            "ClusterIssuer",
            "selfsigned-issuer",
            namespace=None,
            created=born,
            spec={"selfSigned": {}},
            status={"conditions": [_condition(born, "IsReady", "")]},
        )
    )
    for name, secret, hosts in (
        ("api-pss-nano-tls", TLS_SECRET, [HOST, "api-staging.pss-nano.com", "api-dev.pss-nano.com"]),
        ("wildcard-pss-nano-tls", "wildcard-pss-nano-tls", ["*.pss-nano.com", "pss-nano.com"]),
    ):
        found.append(
            obj(
                "cert-manager.io/v1",
                "Certificate",
                name,
                created=born,
                spec={
                    "secretName": secret,
                    "dnsNames": hosts,
                    "issuerRef": {"name": "letsencrypt-prod", "kind": "ClusterIssuer"},
                    "duration": "2160h0m0s",
                    "renewBefore": "720h0m0s",
                },
                status={
                    "conditions": [
                        _condition(issued, "Ready", "Certificate is up to date and has not expired")
                    ],
                    "notBefore": stamp(issued),
                    "notAfter": stamp(issued + dt.timedelta(days=90)),
                    "renewalTime": stamp(issued + dt.timedelta(days=60)),
                    "revision": 4,
                },
            )
        )
    return found


def mesh(now: dt.datetime) -> list[Manifest]:
    """The Istio objects of section 5. No sidecars are injected, so none has an effect; they are there to read."""
    born = now - dt.timedelta(hours=2600)

    def target(name: str) -> str:
        return f"{name}.{NAMESPACE}.svc.cluster.local"

    def outlier(errors: int, seconds: int, percent: int) -> Manifest:
        return {
            "consecutiveErrors": errors,
            "interval": f"{seconds}s",
            "baseEjectionTime": f"{seconds}s",
            "maxEjectionPercent": percent,
        }

    def rule(name: str, balancer: Manifest, connections: int, detection: Manifest) -> Manifest:
        policy = {
            "tls": {"mode": "ISTIO_MUTUAL"},
            "loadBalancer": balancer,
            "connectionPool": {
                "tcp": {"maxConnections": connections},
                "http": {"http2MaxRequests": connections, "maxRequestsPerConnection": 2},
            },
            "outlierDetection": detection,
        }
        return obj(
            "networking.istio.io/v1beta1",
            "DestinationRule",
            name,
            created=born,
            spec={"host": target(name), "trafficPolicy": policy},
        )

    def service(name: str, **spec: object) -> Manifest:
        return obj("networking.istio.io/v1beta1", "VirtualService", name, created=born, spec=dict(spec))

    def to(name: str, **more: object) -> Manifest:
        return {"destination": {"host": target(name), "port": {"number": 3000}}, **more}

    retry = {"attempts": 3, "perTryTimeout": "10s", "retryOn": "5xx,reset,connect-failure"}
    return [
        rule(
            "api-gateway",
            {"consistentHash": {"httpHeaderName": "x-user-id"}},
            100,
            {**outlier(5, 30, 50), "minHealthPercent": 40},
        ),
        rule("reservation-service", {"simple": "LEAST_REQUEST"}, 100, outlier(5, 30, 50)),
        rule("inventory-service", {"simple": "ROUND_ROBIN"}, 150, outlier(3, 20, 10)),
        service(
            "api-gateway",
            hosts=[HOST],
            gateways=["pss-nano-gateway"],
            http=[
                {
                    "match": [{"uri": {"prefix": "/api/v1"}}],
                    "route": [to("api-gateway")],
                    "retries": retry,
                    "timeout": "30s",
                }
            ],
        ),
        service(
            "api-gateway-canary",
            hosts=["api-gateway"],
            gateways=["mesh"],
            http=[{"route": [to("api-gateway", weight=90), to("api-gateway", weight=10)]}],
        ),
        service(
            "reservation-service",
            hosts=["reservation-service"],
            http=[
                {
                    "route": [to("reservation-service")],
                    "timeout": "15s",
                    "retries": {"attempts": 3, "perTryTimeout": "5s"},
                }
            ],
        ),
        obj(
            "networking.istio.io/v1beta1",
            "Gateway",
            "pss-nano-gateway",
            created=born,
            spec={
                "selector": {"istio": "ingressgateway"},
                "servers": [
                    {
                        "hosts": [HOST, "app.pss-nano.com", "admin.pss-nano.com"],
                        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                        "tls": {"mode": "SIMPLE", "credentialName": "pss-nano-tls-cert"},
                    }
                ],
            },
        ),
    ]
