//! What every listener needs: sockets, time limits on them, accepting. Nothing here knows HTTP.

pub mod io;
pub mod listen;
pub mod pem;
pub mod watchdog;
