"""Checks that what watches keygate asks for metrics and labels that there are, and turns the dashboard's queries into
rules, so that promtool can judge them.

    metrics.py METRICS RULES DASHBOARD OUTPUT

METRICS is a scrape of /metrics. Not for: what the queries mean.
"""

import json
import re
import sys

import yaml

# Made by Prometheus itself.
OTHERS = {"up"}
# Families that have no sample until there is something to say.
LATE = {"keygate_certificate_not_after_seconds", "keygate_key_next_expiry_timestamp_seconds"}


def queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"])[1]
            yield f"variable {variable['name']}", query


def concrete(query):
    """As Grafana would ask it."""
    return re.sub(r"\$__rate_interval", "5m", query).replace('"$job"', '".+"').replace('"$instance"', '".+"')


def main():
    metrics, rules, dashboard, output = sys.argv[1:]
    scrape = open(metrics, encoding="utf-8").read()
    there = set(re.findall(r"^# TYPE (\w+)", scrape, re.MULTILINE)) | OTHERS | LATE
    there |= {f"{name}_{part}" for name in there for part in ["bucket", "count", "sum"]}
    board = json.load(open(dashboard, encoding="utf-8"))
    asked = [(f"{dashboard}: {title}", concrete(query)) for title, query in queries(board)]
    groups = yaml.safe_load(open(rules, encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"]]
    failed = 0
    for place, query in asked + [(f"{rules}: {rule['alert']}", rule["expr"]) for rule in alerts]:
        if "$" in query:
            print(f"{place}: a variable that is not known: {query}")
            failed += 1
        for name in set(re.findall(r"\b(?:keygate|process)_\w+", query)) - there:
            print(f"{place}: no such metric: {name}")
            failed += 1
    for rule in alerts:
        if rule["annotations"]["runbook"] != f"README.md#{rule['alert'].lower()}" and not rule["alert"].endswith("Expired"):
            print(f"{rules}: {rule['alert']}: its runbook is elsewhere")
            failed += 1
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        print(f"{dashboard}: two panels with one id")
        failed += 1
    records = [{"record": f"dashboard:query{index}", "expr": query} for index, (_, query) in enumerate(asked)]
    with open(output, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}, file)
    print(f"{len(asked)} queries, {len(alerts)} alerts, {failed} problems")
    return 1 if failed or not asked or not alerts else 0


if __name__ == "__main__":
    sys.exit(main())
