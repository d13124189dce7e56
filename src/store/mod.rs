//! Where keys are kept: the key file's text (`format`), and the one task that follows the file (`reload`).
//! Control plane only: workers see the published table in `key::live` and nothing of this.

mod file;
pub mod format;
pub mod reload;
