"""Checks Kubernetes objects: against the published schemas, with nothing in them that those do not know, and against
what keygate's own objects have to keep true together (the numbers of the end of a pod, for one).

    kubernetes.py OLDEST FILE…

OLDEST is the first version of Kubernetes that the files are for, as 1.30; they are checked against each one from there
on. An object of no known kind is an error. Not for: what the objects do in a cluster.
"""

import re
import sys

import kubernetes_validate
import yaml

VERSIONS = [f"1.{minor}" for minor in range(25, 38)]
# What still runs after `drain` is cut within that time.
CUT = 2


def schema_problems(thing, oldest):
    """Strict: a field that is not in the schema is a problem."""
    if thing["apiVersion"].startswith("monitoring.coreos.com/"):
        yield from monitoring_problems(thing)
        return
    for version in VERSIONS[VERSIONS.index(oldest):]:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{version}: {error.message}"


def monitoring_problems(thing):
    """Of the Prometheus operator's kinds, which are in models that leave out what they do not know: what is left out
    was not to be there."""
    from cloudcoil.models.prometheus_operator import v1
    from pydantic import ValidationError

    try:
        model = getattr(v1, thing["kind"]).model_validate(thing)
    except (AttributeError, ValidationError) as error:
        yield str(error)
        return
    known = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    lost = set(leaves(thing)) - set(leaves(known))
    yield from (f"unknown field: {path}" for path in sorted(lost))


def leaves(thing, at=""):
    if isinstance(thing, dict):
        for name, inner in thing.items():
            yield from leaves(inner, f"{at}.{name}")
    elif isinstance(thing, list):
        for index, inner in enumerate(thing):
            yield from leaves(inner, f"{at}[{index}]")
    else:
        yield at


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def mebibytes(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)B?", text).groups()
    return int(number) * (1024 if unit == "Gi" else 1)


def pod_problems(spec, config):
    """What an example with a keygate in it has to keep true. `config` is the keygate.yaml that it mounts, if any."""
    # Kubernetes takes octal numbers as YAML 1.1 has them; PyYAML does as well.
    natives = [one for one in spec.get("initContainers", []) if one.get("restartPolicy") == "Always"]
    containers = spec["containers"] + natives
    gates = [one for one in containers if one["name"] == "keygate"]
    if not gates:
        return
    (gate,) = gates
    apps = [one for one in spec["containers"] if one is not gate]
    environment = {one["name"]: one.get("value") for one in gate.get("env", [])}

    def setting(path, default):
        name = "KEYGATE_" + path.upper().replace(".", "_")
        value = config
        for part in path.split("."):
            value = (value or {}).get(part)
        return environment.get(name) or value or default

    def expect(holds, what):
        if not holds:
            problems.append(what)

    problems = []
    # The end.
    grace = spec.get("terminationGracePeriodSeconds", 30)
    drain = seconds(setting("timeouts.drain_delay", "0s")) + seconds(setting("timeouts.drain", "30s")) + CUT
    expect(seconds(setting("timeouts.drain_delay", "0s")) >= 3, "drain_delay is too short for the cluster to notice")
    expect(grace > drain, f"{grace} s of grace are not more than a drain of {drain} s")
    expect(gate.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command") == ["/keygate", "drain"],
           "keygate's preStop is not `/keygate drain`")
    for app in apps:
        hook = app.get("lifecycle", {}).get("preStop", {})
        sleep = hook.get("sleep", {}).get("seconds") or int((hook.get("exec", {}).get("command") or ["sleep", "0"])[1])
        expect(drain <= sleep < grace - 5, f"{app['name']} sleeps for {sleep} s: a drain takes {drain}, the grace is {grace}")
    # Probes.
    ports = {port["name"]: port["containerPort"] for port in gate["ports"]}
    telemetry = setting("telemetry.listen", "127.0.0.1:9091")
    expect(telemetry == f"0.0.0.0:{ports['telemetry']}", f"the kubelet does not reach {telemetry}")
    for probe, path in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]:
        expect(gate.get(probe, {}).get("httpGet") == {"path": path, "port": "telemetry"}, f"{probe} does not ask {path}")
    # Who it is, and what it may.
    pod, own = spec.get("securityContext", {}), gate["securityContext"]
    both = {**pod, **own}
    expect(both.get("runAsNonRoot") is True and both.get("runAsUser") == 65532, "keygate's user is not 65532")
    expect(both.get("seccompProfile") == {"type": "RuntimeDefault"}, "no seccomp profile")
    expect(own.get("readOnlyRootFilesystem") is True, "the root is writable")
    expect(own.get("allowPrivilegeEscalation") is False, "privileges can be gained")
    expect(own.get("capabilities") == {"drop": ["ALL"]}, "capabilities are kept")
    expect(spec.get("enableServiceLinks") is False, "service links are not off")
    # Volumes.
    keep = mebibytes(setting("transactions.keep.size", "256MiB"))
    mounted = {mount["name"] for mount in gate["volumeMounts"]}
    expect(not any("subPath" in mount for mount in gate["volumeMounts"]), "a subPath is never updated")
    for volume in spec.get("volumes", []):
        if volume["name"] in mounted and "emptyDir" in volume:
            limit = volume["emptyDir"].get("sizeLimit")
            expect(limit and mebibytes(limit) > keep, f"{volume['name']}: a limit of {limit} for a log of {keep} MiB")
    yield from problems


def main():
    oldest, failed, count = sys.argv[1], 0, 0
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            things = [thing for thing in yaml.safe_load_all(file) if thing]
        configs = [yaml.safe_load(thing["data"]["keygate.yaml"]) for thing in things if "keygate.yaml" in (thing.get("data") or {})]
        kinds = {thing["kind"] for thing in things}
        gated = False
        for thing in things:
            problems = list(schema_problems(thing, oldest))
            template = thing.get("spec", {}).get("template", {}).get("spec")
            if template and "containers" in template:
                problems += pod_problems(template, configs[0] if configs else {})
                gated = gated or "keygate" in str(template)
            for problem in problems:
                print(f"{name}: {thing['kind']} {thing['metadata']['name']}: {problem}")
            failed += len(problems)
            count += 1
        # Whoever puts a gate before an app has to close the other way.
        if gated and "NetworkPolicy" not in kinds and "without-policies" not in name:
            print(f"{name}: no NetworkPolicy")
            failed += 1
    print(f"{count} objects in {len(sys.argv) - 2} files, {failed} problems")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
