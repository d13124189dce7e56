//! What several settings must agree on, looked at when each of them is read.

use crate::config::Address;
use crate::config::Auth;
use crate::config::Config;
use crate::config::Source;
use crate::config::Target;
use crate::config::address;
use crate::config::file;
use crate::config::layers::Origin;
use crate::config::reader::Reader;
use crate::config::value::Wrong;

impl Reader<'_, '_> {
    /// Whether somebody said something about it: of two settings that disagree, that one is to blame.
    fn is_written(&self, name: &str) -> bool {
        let index = file::find(name).expect("settings are asked for by the names of the table");
        let chosen = self.layers.chosen[index].as_ref();
        chosen.is_some_and(|chosen| chosen.origin != Origin::Default)
    }

    /// No two sockets in one place, and keygate not its own upstream.
    pub(super) fn sockets_agree(&mut self, config: &Config, target: Option<&Target>) {
        if let Some(listen) = config
            .listen
            .iter()
            .map(|listen| &listen.address)
            .find(|listen| target.is_some_and(|to| address::reaches(to, listen)))
        {
            let wrong = Wrong::new(format!(
                "keygate itself listens there ({listen}): requests would go in circles"
            ))
            .hint("give the service another port, or keygate: listen, KEYGATE_LISTEN or --listen");
            self.problem("upstream", wrong);
        }
        let addresses = || config.listen.iter().map(|listen| &listen.address);
        let again = addresses().enumerate().find_map(|(index, other)| {
            let mut before = addresses().take(index);
            before.find(|one| same(one, other)).map(|one| (one, other))
        });
        if let Some((one, other)) = again {
            let wrong = Wrong::new(format!("{one} and {other} are the same place"))
                .hint("keep one of the two");
            self.problem("listen", wrong);
        }
        let telemetry = config.telemetry.listen.map(Address::Tcp);
        if let Some(telemetry) = telemetry
            && let Some(listen) = addresses().find(|listen| same(listen, &telemetry))
        {
            if self.is_written("telemetry.listen") {
                let wrong = Wrong::new(format!("clients connect there already (listen: {listen})"))
                    .hint("give telemetry a port of its own, or write none");
                self.problem("telemetry.listen", wrong);
            } else {
                let wrong = Wrong::new(format!(
                    "health and metrics are there already (telemetry.listen: {telemetry})"
                ))
                .hint("take another port, or give telemetry.listen one; none switches it off");
                self.problem("listen", wrong);
            }
        }
    }

    /// What TLS and the PROXY protocol need is there.
    pub(super) fn tls_agrees(&mut self, config: &Config) {
        if config.tls.is_none() && config.listen.iter().any(|listen| listen.tls) {
            let wrong = Wrong::new("a listener speaks TLS, and there is no certificate")
                .hint("add one: tls: {certificates: [{certificate: FILE, key: FILE}]}");
            self.problem("listen", wrong);
        }
        if config.tls.is_some() && !config.listen.iter().any(|listen| listen.tls) {
            let wrong = Wrong::new("no listener speaks TLS: the certificates are not used")
                .hint("write {address: 0.0.0.0:8443, tls: true}");
            let warning = self.describe("tls.certificates", wrong);
            self.layers.warnings.push(warning);
        }
        let proxied = config
            .listen
            .iter()
            .any(|listen| listen.proxy_protocol && matches!(listen.address, Address::Tcp(_)));
        if proxied && config.forwarded.trusted_proxies.is_empty() {
            let wrong = Wrong::new("proxy_protocol: nobody is trusted to say who the client is")
                .hint("name the load balancers: forwarded: {trusted_proxies: [10.0.0.0/8]}");
            self.problem("listen", wrong);
        }
    }

    /// Something is left of the log when a file is closed.
    pub(super) fn rotation_agrees(&mut self, config: &Config) {
        let transactions = &config.transactions;
        if transactions.keep_size / 2 >= transactions.rotate_size {
            return;
        }
        let (name, what) = if self.is_written("transactions.keep.size") {
            (
                "transactions.keep.size",
                "less than two files of transactions.rotate.size",
            )
        } else {
            (
                "transactions.rotate.size",
                "more than half of transactions.keep.size",
            )
        };
        let so = "a closed file would be deleted while the next one fills up";
        let wrong = Wrong::new(format!("{what}: {so}"))
            .hint("make keep.size larger or rotate.size smaller");
        self.problem(name, wrong);
    }

    /// The admin API is in nobody's way, and who can read what goes over its wire is said on purpose.
    pub(super) fn admin_agrees(&mut self, config: &Config) {
        let admin = &config.admin;
        if !admin.enabled {
            return;
        }
        let (here, telemetry) = (
            Address::Tcp(admin.listen),
            config.telemetry.listen.map(Address::Tcp),
        );
        let clients = config
            .listen
            .iter()
            .map(|listen| ("listen", "clients connect", &listen.address));
        let telemetry = telemetry
            .iter()
            .map(|at| ("telemetry.listen", "health and metrics are", at));
        let other = clients.chain(telemetry).find(|(.., at)| same(at, &here));
        if let Some((name, what, at)) = other {
            if self.is_written("admin.listen") || !self.is_written(name) {
                let wrong = Wrong::new(format!("{what} there already ({name}: {at})"))
                    .hint("give the admin API a port of its own");
                self.problem("admin.listen", wrong);
            } else {
                let wrong = Wrong::new(format!(
                    "the admin API is there already (admin.listen: {here})"
                ))
                .hint("take another port, or give admin.listen one; admin.enabled: false switches it off");
                self.problem(name, wrong);
            }
        }
        let loopback = admin.listen.ip().to_canonical().is_loopback();
        let https = admin.tls.is_some() || admin.url.as_ref().is_some_and(|url| url.secure);
        if !loopback && !https && admin.allow_plain_http {
            let wrong = Wrong::new(format!(
                "other machines reach {}, and passwords and tokens go there in plain HTTP",
                admin.listen
            ))
            .hint("this is what admin.allow_plain_http: true accepts; TLS in front and admin.url: https://… would end it");
            let warning = self.describe("admin.listen", wrong);
            self.layers.warnings.push(warning);
        } else if !(loopback || https) {
            let wrong = Wrong::new(format!(
                "other machines reach {}, and passwords would go there in plain HTTP",
                admin.listen
            ))
            .hint(format!(
                "listen on this machine alone, 127.0.0.1:{port}; or put TLS in front and write its address, \
                 admin.url: https://ops.example.com/; or accept it: admin.allow_plain_http: true",
                port = admin.listen.port()
            ));
            self.problem("admin.listen", wrong);
        }
    }

    /// A header carries a token or an identity, not both.
    pub(super) fn headers_agree(&mut self, auth: &Auth) {
        // Look-alikes with `_` count as the same name, because they are removed as well.
        let folded = |name: &http::HeaderName| name.as_str().replace('_', "-");
        let (id, name) = (folded(&auth.identity.id), folded(&auth.identity.name));
        if id == name {
            let (setting, what) = if self.is_written("auth.identity.name") {
                ("auth.identity.name", "id")
            } else {
                ("auth.identity.id", "name")
            };
            let wrong = Wrong::new(format!("{name} carries the key's {what} already"))
                .hint("give each a name of its own");
            self.problem(setting, wrong);
        }
        for source in &auth.sources {
            let Source::Header(header) = source else {
                continue;
            };
            let twin = if folded(header) == id {
                Some("auth.identity.id")
            } else {
                (folded(header) == name).then_some("auth.identity.name")
            };
            if twin.is_some() && self.is_written("auth.sources") {
                let wrong = Wrong::new(format!(
                    "{header} tells the upstream who called, so it is removed from requests"
                ))
                .hint("take the token from another header, or change auth.identity");
                self.problem("auth.sources", wrong);
            } else if let Some(identity) = twin {
                let wrong = Wrong::new(format!("{header} carries the token (auth.sources)"))
                    .hint("use a header of its own, such as x-keygate-key-id");
                self.problem(identity, wrong);
            }
            if header == http::header::AUTHORIZATION {
                let wrong = Wrong::new("header: Authorization takes the whole value as the token")
                    .hint(
                        "clients that send \"Authorization: Bearer TOKEN\" need the source bearer",
                    );
                let warning = self.describe("auth.sources", wrong);
                self.layers.warnings.push(warning);
            }
        }
    }
}

/// Whether two sockets would be in one place.
fn same(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => address::overlap(*one, *other),
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}
