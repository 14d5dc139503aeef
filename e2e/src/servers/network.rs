//! A network between clients and servers of this machine, which cuts one client off and back: a proxy before each server.
//!
//! All processes share the address 127.0.0.1, so a proxy recognises a client by its process id: `/proc` says which process
//! owns the port that a connection comes from.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ports::free_port;

/// How a client is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing is answered and nothing arrives, as behind a dead cable. The connections go on after the cut.
    BlackHole,
    /// Each connection is reset, and so is each new one, as by a firewall that refuses.
    Reset,
}

/// The proxies before one server, or before all members of one cluster. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The cut of each process that is cut off.
    cuts: BTreeMap<u32, Cut>,
    /// Each open connection's own cut, by the client's port.
    connections: BTreeMap<u16, watch::Sender<Option<Cut>>>,
    /// Ends the proxies when the last clone of the network is dropped.
    proxies: JoinSet<()>,
}

impl Network {
    /// Puts a proxy before the server on port `server`; returns the proxy's port, for clients.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn proxy(&self, server: u16) -> anyhow::Result<u16> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("cannot listen for a proxy")?;
        let state = Arc::downgrade(&self.state);
        self.locked().proxies.spawn(async move {
            loop {
                // No file descriptor is free for a moment: the client waits.
                let Ok((client, address)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let Some(state) = state.upgrade() else { return };
                let network = Self { state };
                let cut = network.connected(address.port());
                let weak = Arc::downgrade(&network.state);
                network.locked().proxies.spawn(async move {
                    // An error is the end of a connection, which both sides see.
                    let _ = connection(client, server, cut).await;
                    if let Some(state) = weak.upgrade() {
                        Self { state }.locked().connections.remove(&address.port());
                    }
                });
            }
        });
        Ok(port)
    }

    /// Cuts the process `client` off all servers of this network, until [`Network::restore`].
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cut(&self, client: u32, cut: Cut) -> anyhow::Result<()> {
        let mut state = self.locked();
        state.cuts.insert(client, cut);
        state.tell(client, Some(cut))
    }

    /// Lets the process `client` through again. Fine when it is gone.
    pub fn restore(&self, client: u32) {
        let mut state = self.locked();
        state.cuts.remove(&client);
        let _ = state.tell(client, None);
    }

    /// Notes a new connection from the port `client`; it is cut when its process is.
    fn connected(&self, client: u16) -> watch::Receiver<Option<Cut>> {
        let mut state = self.locked();
        let of_process = |(pid, cut): (&u32, &Cut)| ports_of(*pid).ok()?.contains(&client).then_some(*cut);
        let (sender, receiver) = watch::channel(state.cuts.iter().find_map(of_process));
        // Finished connections leave the set too.
        while state.proxies.try_join_next().is_some() {}
        state.connections.insert(client, sender);
        receiver
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, client: u32, cut: Option<Cut>) -> anyhow::Result<()> {
        for port in ports_of(client)? {
            if let Some(connection) = self.connections.get(&port) {
                connection.send_replace(cut);
            }
        }
        Ok(())
    }
}

async fn connection(mut client: TcpStream, server: u16, cut: watch::Receiver<Option<Cut>>) -> io::Result<()> {
    let is_reset =
        async |mut cut: watch::Receiver<Option<Cut>>| cut.wait_for(|cut| *cut == Some(Cut::Reset)).await.is_ok();
    let mut upstream = tokio::select! {
        upstream = connected_when_open(server, cut.clone()) => upstream?,
        true = is_reset(cut.clone()) => return client.set_zero_linger(),
    };
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_reads, client_writes) = client.split();
    let (upstream_reads, upstream_writes) = upstream.split();
    let copied = async {
        tokio::try_join!(
            copy(client_reads, upstream_writes, cut.clone()),
            copy(upstream_reads, client_writes, cut.clone()),
        )
    };
    // After an error on one side, the other side is closed as well, since both are dropped.
    let is_reset = tokio::select! {
        result = copied => return result.map(drop),
        is_reset = is_reset(cut.clone()) => is_reset,
    };
    if is_reset {
        client.set_zero_linger()?;
        upstream.set_zero_linger()?;
    }
    Ok(())
}

async fn connected_when_open(server: u16, cut: watch::Receiver<Option<Cut>>) -> io::Result<TcpStream> {
    open(cut).await;
    TcpStream::connect(("127.0.0.1", server)).await
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, cut: watch::Receiver<Option<Cut>>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        open(cut.clone()).await;
        let count = from.read(&mut buffer).await?;
        // What was read while the cut began waits here.
        open(cut.clone()).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Waits while the connection is cut.
async fn open(mut cut: watch::Receiver<Option<Cut>>) {
    // An error means that the network is gone, and this task with it.
    let _ = cut.wait_for(Option::is_none).await;
}

/// The local ports of the TCP connections of a process.
fn ports_of(pid: u32) -> anyhow::Result<HashSet<u16>> {
    let directory = Path::new("/proc").join(pid.to_string()).join("fd");
    let sockets: HashSet<String> = std::fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}: process {pid} is gone", directory.display()))?
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut ports = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        ports.extend(table.lines().skip(1).filter_map(|line| {
            // sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
            let mut columns = line.split_whitespace();
            let local = columns.nth(1)?;
            let inode = columns.nth(7)?;
            sockets.contains(inode).then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())?
        }));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const A_WHILE: Duration = Duration::from_millis(200);

    /// A server that sends back what it gets, and a connection to it through a network.
    async fn echo() -> (Network, u16, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        let network = Network::default();
        let port = network.proxy(server).await.unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        (network, port, client, tasks)
    }

    async fn answer(client: &mut TcpStream) -> io::Result<u8> {
        tokio::time::timeout(SOON, client.read_u8()).await?
    }

    #[tokio::test]
    async fn a_black_hole_holds_everything_back_and_then_lets_it_through() {
        let (network, port, mut client, _tasks) = echo().await;
        client.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 1);

        network.cut(std::process::id(), Cut::BlackHole).unwrap();
        client.write_u8(2).await.unwrap();
        assert!(tokio::time::timeout(A_WHILE, client.read_u8()).await.is_err(), "an answer out of the black hole");
        let mut new = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        new.write_u8(3).await.unwrap();
        assert!(
            tokio::time::timeout(A_WHILE, new.read_u8()).await.is_err(),
            "a new connection is not in the black hole"
        );

        network.restore(std::process::id());
        assert_eq!(answer(&mut client).await.unwrap(), 2);
        assert_eq!(answer(&mut new).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_reset_ends_old_and_new_connections_until_it_is_restored() {
        let (network, port, mut client, _tasks) = echo().await;
        client.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 1);

        network.cut(std::process::id(), Cut::Reset).unwrap();
        assert_eq!(answer(&mut client).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut new = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(answer(&mut new).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

        network.restore(std::process::id());
        let mut new = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        new.write_u8(2).await.unwrap();
        assert_eq!(answer(&mut new).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn another_process_is_not_cut_off() {
        let (network, _, mut client, _tasks) = echo().await;
        network.cut(std::os::unix::process::parent_id(), Cut::BlackHole).unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 1);
    }
}
