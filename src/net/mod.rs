//! What every listener needs: sockets, time limits on them, accepting. Nothing here knows HTTP.

pub mod io;
pub mod listen;
pub mod passed;
pub mod pem;
pub mod per_client;
pub mod proxy_protocol;
pub mod tls;
pub mod watchdog;
