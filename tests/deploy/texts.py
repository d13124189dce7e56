"""Finds every text for keygate in files that are about something else, and has `keygate check` judge it: keygate.yaml in
ConfigMaps, and the blocks of Markdown files that are a part of keygate.yaml or a key file.

    texts.py KEYGATE FOLDER FILE…

FOLDER is for the texts. A block counts as a part of keygate.yaml when each of its top-level names is a setting, and as a
key file when it has `keys` as a list. Not for: files that are a keygate.yaml or a key file themselves.
"""

import pathlib
import re
import secrets
import subprocess
import sys

import yaml

SETTINGS = {
    "version", "listen", "upstream", "upstream_host", "data_dir", "workers", "keys", "auth", "transactions", "admin",
    "telemetry", "tls", "upstream_tls", "timeouts", "limits", "forwarded", "log",
}


def texts(name):
    """The texts of a file, each with where it is."""
    content = pathlib.Path(name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        for block in re.finditer(r"^```ya?ml\n(.*?)^```", content, re.MULTILINE | re.DOTALL):
            line = content[: block.start()].count("\n") + 2
            try:
                value = yaml.safe_load(block[1])
            except yaml.YAMLError as error:
                raise SystemExit(f"{name}:{line}: {error}") from error
            if isinstance(value, dict) and set(value) <= SETTINGS:
                yield f"{name}:{line}", block[1], value
        return
    for thing in yaml.safe_load_all(content):
        for key, text in ((thing or {}).get("data") or {}).items():
            if (thing or {}).get("kind") == "ConfigMap" and key == "keygate.yaml":
                yield f"{name}: {thing['metadata']['name']}", text, yaml.safe_load(text)


def main():
    keygate, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    keys, token = folder / "keys.yaml", folder / "token"
    keys.write_text("version: 1\nkeys: []\n", encoding="utf-8")
    token.write_text(secrets.token_hex(), encoding="utf-8")
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
         "-subj", "/CN=app.test", "-keyout", key, "-out", certificate], check=True, capture_output=True,
    )
    count = failed = 0
    for name in sys.argv[3:]:
        for place, text, value in texts(name):
            count += 1
            file = folder / f"text-{count}.yaml"
            is_keys = isinstance(value.get("keys"), list)
            # A part of keygate.yaml need not say what every one says.
            missing = {} if is_keys else {"version": "version: 1\n", "upstream": "upstream: http://127.0.0.1:3000\n"}
            text += "".join(line for setting, line in missing.items() if setting not in value)
            # What it names is on other machines.
            for path, here in [(r"/run/secrets/\w+", token), (r"/etc/[-\w/]+\.(crt|pem)", certificate), (r"/etc/[-\w/]+\.key", key)]:
                text = re.sub(path, str(here), text)
            file.write_text(text, encoding="utf-8")
            result = subprocess.run(
                [keygate, "check", file], env={"KEYGATE_KEYS_FILE": str(keys)}, capture_output=True, text=True, check=False
            )
            if result.returncode:
                failed += 1
                print(f"{place}:\n{result.stdout}{result.stderr}")
    print(f"{count} texts for keygate, {failed} wrong")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
