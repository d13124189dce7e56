//! nginx and HAProxy, in front of keygate and behind it: every request is recorded with the address of the client that
//! began it, whichever way the proxy says so, and what the proxy can do goes through.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::clients::given;
use crate::clients::programs::Service;
use crate::clients::programs::run;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::sha256;
use crate::harness::tls::AUTHORITY;
use crate::harness::upstream::Upstream;

/// Where clients come from. Proxies come from 127.0.0.1, which is trusted; this one is not.
const CLIENT: &str = "127.0.0.9";

/// The body and the status of a request that curl sends from [`CLIENT`].
#[track_caller]
fn curl(arguments: &[&str], url: &str) -> (Vec<u8>, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
        .args([
            "--interface",
            CLIENT,
            "--write-out",
            "%{stderr}%{http_code}",
        ])
        .args(["-H", &format!("x-api-key: {GOOD}")])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{url} {arguments:?}: {said}");
    (output.stdout, said)
}

/// Sends a request through the proxy that listens at `front`; the record must have the client's address.
#[track_caller]
fn check_client(keygate: &Keygate, front: SocketAddr, path: &str, protocol: &str) {
    // What the client claims of itself counts for nothing.
    let claimed = [
        "-H",
        "x-forwarded-for: 192.0.2.66",
        "-H",
        "forwarded: for=192.0.2.66",
    ];
    let (body, status) = curl(&claimed, &format!("http://{front}{path}"));
    assert_eq!(status, "200", "{path}: {}", String::from_utf8_lossy(&body));
    let record = keygate.transaction_of(path);
    assert_eq!(record["client_ip"], CLIENT, "{path}: {record}");
    assert_eq!(record["protocol"], protocol, "{path}: {record}");
}

/// A keygate that trusts proxies at 127.0.0.1; its second address wants a PROXY header.
#[track_caller]
fn behind_proxies(url: &str) -> Keygate {
    Setup::in_front_of(url)
        .set(
            "listen",
            "[127.0.0.1:0, {address: 127.0.0.1:0, proxy_protocol: true}]",
        )
        .set("forwarded", "{trusted_proxies: [127.0.0.1/32]}")
        .spawn()
}

/// nginx with these blocks, in one process and with all its files in its folder.
#[track_caller]
fn nginx(ready: SocketAddr, blocks: &str) -> Service {
    let config = format!(
        "load_module {module};\ndaemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\n{blocks}",
        module = "/usr/lib/nginx/modules/ngx_stream_module.so",
    );
    Service::program("nginx", &["-p", ".", "-e", "stderr", "-c"], &config, ready)
}

/// What nginx's `http` block needs to stay in its folder.
const NGINX_HTTP: &str = "access_log off; client_body_temp_path body; proxy_temp_path proxy; \
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; default_type text/plain;";

#[track_caller]
fn haproxy(ready: SocketAddr, sections: &str) -> Service {
    let config = format!(
        "global\n  maxconn 500\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  \
         timeout server 30s\n  timeout tunnel 30s\n{sections}"
    );
    Service::program("haproxy", &["-db", "-f"], &config, ready)
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn nginx_in_front_says_who_the_client_is() {
    let origin = Service::python("origin.py");
    let keygate = behind_proxies(&origin.url());
    let (http, stream) = (Upstream::nowhere(), Upstream::nowhere());
    let blocks = format!(
        "http {{ {NGINX_HTTP}
            map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
            upstream keygate {{ server {plain}; keepalive 8; }}
            server {{
                listen {http};
                client_max_body_size 0;
                location / {{
                    proxy_pass http://keygate;
                    proxy_http_version 1.1;
                    proxy_set_header Host $http_host;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header X-Forwarded-Proto $scheme;
                    proxy_request_buffering off;
                    proxy_buffering off;
                }}
            }}
        }}
        stream {{ server {{ listen {stream}; proxy_pass {wants_header}; proxy_protocol on; }} }}",
        plain = keygate.addresses[0],
        wants_header = keygate.addresses[1],
    );
    let _nginx = nginx(http, &blocks);
    check_client(&keygate, http, "/echo/by-field", "HTTP/1.1");
    check_client(&keygate, http, "/echo/by-field-again", "HTTP/1.1");
    check_client(&keygate, stream, "/echo/by-header", "HTTP/1.1");
    let parts = json!(["websockets"]);
    for front in [http, stream] {
        let mut given = given(front);
        given["parts"] = parts.clone();
        run("python.py", &given);
    }
    keygate.finish();
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn haproxy_in_front_says_who_the_client_is() {
    let origin = Service::python("origin.py");
    let keygate = behind_proxies(&origin.url());
    let fronts = [(); 4].map(|()| Upstream::nowhere());
    let [http1, http2, first, second] = fronts;
    let (plain, wants_header) = (keygate.addresses[0], keygate.addresses[1]);
    let sections = format!(
        "listen http1\n  bind {http1}\n  option forwardfor\n  http-reuse always\n  server keygate {plain}\n\
         listen http2\n  bind {http2}\n  option forwardfor\n  server keygate {plain} proto h2\n\
         listen first\n  mode tcp\n  bind {first}\n  server keygate {wants_header} send-proxy\n\
         listen second\n  mode tcp\n  bind {second}\n  server keygate {wants_header} send-proxy-v2\n"
    );
    let _haproxy = haproxy(http1, &sections);
    check_client(&keygate, http1, "/echo/by-field", "HTTP/1.1");
    check_client(&keygate, http2, "/echo/by-field-in-http2", "HTTP/2");
    check_client(&keygate, first, "/echo/by-header", "HTTP/1.1");
    check_client(&keygate, second, "/echo/by-binary-header", "HTTP/1.1");
    // Over `http2` as extended CONNECT.
    for front in [http1, http2, second] {
        let mut given = given(front);
        given["parts"] = json!(["websockets"]);
        run("python.py", &given);
    }
    keygate.finish();
}

/// Asks for what a web server has, in full, in part, and made smaller on the way out.
#[track_caller]
fn check_files(keygate: &Keygate, file: &[u8]) {
    let base = format!("http://{}", keygate.address());
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let (body, status) = curl(&[protocol], &format!("{base}/file"));
        assert_eq!(
            (status.as_str(), sha256(&body)),
            ("200", sha256(file)),
            "{protocol}"
        );
        let (body, status) = curl(&[protocol, "--range", "100-199"], &format!("{base}/file"));
        assert!(
            status == "206" && body == file[100..200],
            "{protocol}: {status}"
        );
        let (body, status) = curl(&[protocol, "--compressed"], &format!("{base}/text"));
        assert_eq!((status.as_str(), body.len()), ("200", 40_000), "{protocol}");
        let (_, status) = curl(&[protocol, "--head"], &format!("{base}/file"));
        assert_eq!(status, "200", "{protocol}");
        let (_, status) = curl(&[protocol], &format!("{base}/nothing"));
        assert_eq!(status, "404", "{protocol}");
        let (_, status) = curl(&[protocol, "--data", "x"], &format!("{base}/file"));
        assert_eq!(status, "405", "{protocol}");
    }
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn nginx_behind_serves_files() {
    let [http1, http2, tls1, tls2] = [(); 4].map(|()| Upstream::nowhere());
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "server.pem",
        AUTHORITY.server(&["localhost"]).both().as_bytes(),
    );
    let blocks = format!(
        "http {{ {NGINX_HTTP}
            ssl_certificate {certificate}; ssl_certificate_key {certificate};
            gzip on; gzip_types *; gzip_min_length 1000; gzip_http_version 1.0; gzip_proxied any;
            server {{
                listen {http1}; listen {http2} http2; listen {tls1} ssl; root .; keepalive_requests 5;
            }}
            server {{ listen {tls2} ssl http2; root .; keepalive_requests 5; }}
        }}",
        certificate = folder.path().join("server.pem").display(),
    );
    let nginx = nginx(http1, &blocks);
    let file = noise(3_000_000);
    write(nginx.folder(), "file", &file);
    write(nginx.folder(), "text", &b"text".repeat(10_000));
    for url in [
        format!("http://{http1}"),
        format!("h2c://{http2}"),
        format!("https://{tls1}"),
        format!("https://{tls2}"),
    ] {
        let setup = Setup::in_front_of(&url).set("upstream_tls", "{ca: authority.pem}");
        write(
            setup.folder.path(),
            "authority.pem",
            AUTHORITY.pem().as_bytes(),
        );
        let keygate = setup.spawn();
        check_files(&keygate, &file);
        // It ends a connection after five requests: nobody notices.
        let many = format!("http://{}/text?[1-40]", keygate.address());
        let (body, status) = curl(&[], &many);
        let expected = (40 * 40_000, "200".repeat(40));
        assert_eq!((body.len(), status), expected, "{url}");
        keygate.finish();
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn haproxy_behind_passes_on() {
    let origin = Service::python("origin.py");
    let (http1, http2) = (Upstream::nowhere(), Upstream::nowhere());
    let sections = format!(
        "listen behind\n  option abortonclose\n  bind {http1}\n  bind {http2} proto h2\n  server origin {}\n",
        origin.address
    );
    let _haproxy = haproxy(http1, &sections);
    for url in [format!("http://{http1}"), format!("h2c://{http2}")] {
        let keygate = Setup::in_front_of(&url).spawn();
        let mut given = given(keygate.address());
        given["parts"] = json!(["httpx", "aiohttp", "websockets"]);
        // HAProxy 2.6 itself ends chunks that were cut as if they were whole, in HTTP/2.
        given["broken"] = json!(["/broken"]);
        run("python.py", &given);
        keygate.finish();
    }
}
