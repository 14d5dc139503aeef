//! Free ports on the loopback interface.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;
use rand::RngExt;

/// Below Linux's range for outgoing connections (32768 and up): otherwise, while a server is down, a client's connection
/// may take the server's port, or even connect to itself.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on, and that no process of this machine has been handed out before: a server binds its port
/// only some time after this function has found the port free. The lock on the port's file lasts as long as this process.
///
/// # Errors
/// When none is found, or the folder of the locks cannot be written.
pub fn free_port() -> anyhow::Result<u16> {
    static HANDED_OUT: LazyLock<Mutex<HashMap<u16, File>>> = LazyLock::new(Mutex::default);
    let locks = std::env::temp_dir().join("devtoolkit-ports");
    std::fs::create_dir_all(&locks).with_context(|| format!("cannot make {}", locks.display()))?;
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = rand::rng().random_range(RANGE);
        if handed_out.contains_key(&port) {
            continue;
        }
        let path = locks.join(port.to_string());
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        // The lock comes first: to look at a port takes it for a moment, perhaps that of another's server that just starts.
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            handed_out.insert(port, lock);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port on 127.0.0.1 in {RANGE:?}")
}

/// Checks that a server can have its port again, before a stranger on it is taken for the server.
///
/// # Errors
/// When somebody listens on it.
pub fn ensure_free(port: u16, home: &Path) -> anyhow::Result<()> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).with_context(|| {
        format!(
            "another program has port {port} of the server in {}: stop it, or remove that directory for a new start \
             (./dev down --wipe)",
            home.display()
        )
    })
}

/// The ports of the server that lives in `home`: free ones at its first start, the same ones ever after.
///
/// # Errors
/// When the file `ports` in `home` cannot be read or written, or no port is free.
pub fn lasting_ports<const N: usize>(home: &Path) -> anyhow::Result<[u16; N]> {
    let file = home.join("ports");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let ports: Vec<u16> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        return ports.try_into().ok().with_context(|| {
            format!("{} holds {text:?}, expected {N} port numbers: remove {}", file.display(), home.display())
        });
    }
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    let text = ports.map(|port| port.to_string()).join(" ");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ports)
}
